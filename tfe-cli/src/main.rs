//! tfe
fn main() {}
