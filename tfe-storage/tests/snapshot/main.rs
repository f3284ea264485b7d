//! Snapshots: whole or not at all, small when little changed, and never wrong.

mod create;
mod damage;
mod dying;
mod journal;
mod owner;
mod places;
mod prune;
mod restore;
