//! What all endpoints share: who calls, what may be seen, how it is answered.

pub(crate) mod body;
pub(crate) mod context;
pub(crate) mod limits;
pub(crate) mod middleware;
pub(crate) mod parameters;
pub(crate) mod peer;
pub(crate) mod respond;
pub(crate) mod routes;
pub(crate) mod signed;
