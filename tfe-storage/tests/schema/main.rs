//! Schemas that grow in a PostgreSQL database while older programs work with it: never in their way, whole in the end, whoever is
//! killed on the way.

#![cfg(feature = "postgres")]

mod catalog;
mod grown;
mod killed;
mod library;
mod million;
mod patience;
mod refused;
mod sampler;
mod severed;
#[path = "../support/mod.rs"]
mod support;
mod together;
