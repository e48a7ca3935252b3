//! Two pieces of work side by side on one connection: the first that ends wins.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Which of the two ended.
#[derive(Debug)]
pub enum Either<A, B> {
    /// The first.
    Left(A),
    /// The second.
    Right(B),
}

/// Polls both, `left` first, until one ends; the other stays where it is and can go on later.
pub async fn race<A: Future, B: Future>(
    mut left: Pin<&mut A>,
    mut right: Pin<&mut B>,
) -> Either<A::Output, B::Output> {
    poll_fn(|context| {
        if let Poll::Ready(output) = left.as_mut().poll(context) {
            return Poll::Ready(Either::Left(output));
        }
        right.as_mut().poll(context).map(Either::Right)
    })
    .await
}
