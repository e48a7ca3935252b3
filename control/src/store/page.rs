//! Cursor pagination: every list is ordered by a number that never changes, so a page neither
//! repeats nor skips what existed all along, however much is added meanwhile.

/// Most rows of one page.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The `next` of the page before; none for the first page.
    pub after: Option<u64>,
    /// How many, 1 to [`PAGE_ROWS_MAX`]; larger is cut.
    pub rows: u32,
}

impl Page {
    /// The first `rows` rows.
    pub fn first(rows: u32) -> Self {
        Self { after: None, rows }
    }
}

/// One part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to ask for next; none: this was the last page.
    pub next: Option<u64>,
}
