//! Holds nothing; see the programs beside it.
