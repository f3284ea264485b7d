//! Engines: which are found, where they are fetched from, and what is refused.

mod bench;
mod http;
mod import;
mod mirror;
mod registered;
mod site;
