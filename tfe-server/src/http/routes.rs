//! A router that remembers its table, so that the table can be a snapshot in a test.

use axum::{
    Router,
    handler::Handler,
    http::Method,
    routing::{self, MethodRouter},
};

use crate::app::App;

/// Routes of a part of the API.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    router: Router<App>,
    table: Vec<(Method, &'static str)>,
}

impl Routes {
    /// No routes.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds `GET`.
    pub(crate) fn get<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::GET, path, routing::get(handler))
    }

    /// Adds `POST`.
    pub(crate) fn post<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::POST, path, routing::post(handler))
    }

    /// Adds `PATCH`.
    pub(crate) fn patch<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::PATCH, path, routing::patch(handler))
    }

    /// Adds `PUT`.
    pub(crate) fn put<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::PUT, path, routing::put(handler))
    }

    /// Adds `DELETE`.
    pub(crate) fn delete<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::DELETE, path, routing::delete(handler))
    }

    /// Adds the routes of another part.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        Self { router: self.router.merge(other.router), table: self.table }
    }

    /// The router and its table.
    pub(crate) fn into_parts(self) -> (Router<App>, Vec<(Method, &'static str)>) {
        (self.router, self.table)
    }

    fn on(mut self, method: Method, path: &'static str, handler: MethodRouter<App>) -> Self {
        self.table.push((method, path));
        Self { router: self.router.route(path, handler), table: self.table }
    }
}
