//! Catches a panic of one connection's task.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// The output of `task`, or `None` if it panicked; the panic hook has told of it by then.
///
/// It is lent, for a future that were moved in here would take its room twice.
pub async fn catch<T>(mut task: AssertUnwindSafe<Pin<&mut impl Future<Output = T>>>) -> Option<T> {
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| task.0.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}
