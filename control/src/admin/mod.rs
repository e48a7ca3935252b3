//! The REST admin API.

use crate::state::Control;
use axum::Router;

/// Every route of the admin API.
pub fn router(state: Control) -> Router {
    Router::new().with_state(state)
}
