//! A router that remembers its routes, so that tests can walk every one of them.

use super::Admin;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};

/// Routes under construction.
pub(super) struct Routes {
    router: Router<Admin>,
    listed: Vec<(&'static str, &'static str)>,
}

macro_rules! methods {
    ($($name:ident $word:literal)*) => {
        $(
            pub(super) fn $name<H, T>(self, path: &'static str, handler: H) -> Self
            where
                H: Handler<T, Admin>,
                T: 'static,
            {
                self.add($word, path, routing::$name(handler))
            }
        )*
    };
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            router: Router::new(),
            listed: Vec::new(),
        }
    }

    methods! {
        get "GET"
        post "POST"
        put "PUT"
        patch "PATCH"
        delete "DELETE"
    }

    /// A POST whose body may have this many bytes.
    pub(super) fn post_bulk<H, T>(self, path: &'static str, bytes_max: usize, handler: H) -> Self
    where
        H: Handler<T, Admin>,
        T: 'static,
    {
        self.add(
            "POST",
            path,
            routing::post(handler).layer(DefaultBodyLimit::max(bytes_max)),
        )
    }

    fn add(mut self, method: &'static str, path: &'static str, one: MethodRouter<Admin>) -> Self {
        self.router = self.router.route(path, one);
        self.listed.push((method, path));
        self
    }

    pub(super) fn into_router(self) -> Router<Admin> {
        self.router
    }

    pub(super) fn listed(self) -> Vec<(&'static str, &'static str)> {
        self.listed
    }
}
