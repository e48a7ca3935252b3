//! What settings accept, what they refuse, and in which words.
