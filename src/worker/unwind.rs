//! Catches a panic of one connection's task.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The output of `task`, or `None` if it panicked; the panic hook has told of it by then.
pub async fn catch<T>(task: AssertUnwindSafe<impl Future<Output = T>>) -> Option<T> {
    let mut task = pin!(task.0);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}
