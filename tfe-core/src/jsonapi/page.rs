//! Pages of lists, by number, as the protocol has them.

use serde_json::{Value, json};

/// The size of a page when the request does not say.
pub const DEFAULT_PAGE_SIZE: u64 = 20;
/// The largest page; a larger wish is cut to it, as Terraform Enterprise does.
pub const MAX_PAGE_SIZE: u64 = 100;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u64,
    /// 1 to [`MAX_PAGE_SIZE`].
    pub size: u64,
}

impl Page {
    /// From what the request says, brought into bounds.
    pub fn new(number: Option<u64>, size: Option<u64>) -> Self {
        Self { number: number.unwrap_or(1).max(1), size: size.unwrap_or(DEFAULT_PAGE_SIZE).clamp(1, MAX_PAGE_SIZE) }
    }

    /// How many items come before it.
    pub const fn offset(self) -> u64 {
        (self.number - 1).saturating_mul(self.size)
    }

    /// `meta.pagination`.
    pub fn meta(self, total: u64) -> Value {
        let last = self.last(total);
        json!({
            "current-page": self.number,
            "page-size": self.size,
            "prev-page": self.previous(),
            "next-page": (self.number < last).then(|| self.number + 1),
            "total-pages": last,
            "total-count": total,
        })
    }

    /// `links` of the list; `url` has the request's query without `page[number]` and `page[size]`.
    pub fn links(self, total: u64, url: &str) -> Value {
        let separator = if url.contains('?') { '&' } else { '?' };
        let at = |number: u64| format!("{url}{separator}page%5Bnumber%5D={number}&page%5Bsize%5D={}", self.size);
        let last = self.last(total);
        json!({
            "self": at(self.number),
            "first": at(1),
            "prev": self.previous().map(at),
            "next": (self.number < last).then(|| at(self.number + 1)),
            "last": at(last),
        })
    }

    fn last(self, total: u64) -> u64 {
        total.div_ceil(self.size).max(1)
    }

    fn previous(self) -> Option<u64> {
        (self.number > 1).then(|| self.number - 1)
    }
}
