//! Ranges of network addresses in CIDR notation, for settings that say who may do something.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of addresses, such as `10.0.0.0/8` or `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix_length: u8,
}

/// A text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no address range; write it like 10.0.0.0/8 or 192.0.2.7")]
pub struct BadSubnet(String);

impl Subnet {
    /// Whether the address is in the range. An IPv4 address that comes as IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, own_length) = bits(self.address.to_canonical());
        let (other, other_length) = bits(address.to_canonical());
        let shift = u32::from(own_length.saturating_sub(self.prefix_length));
        own_length == other_length && own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
    }
}

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Self, BadSubnet> {
        let bad = || BadSubnet(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.trim().parse().map_err(|_| bad())?;
        let (_, longest) = bits(address);
        let prefix_length = length.map_or(Ok(longest), |length| length.trim().parse().map_err(|_| bad()))?;
        if prefix_length > longest { Err(bad()) } else { Ok(Self { address, prefix_length }) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(subnet: &str, address: &str) -> bool {
        subnet.parse::<Subnet>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_range_contains_its_addresses_and_no_others() {
        for (subnet, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.0/25", "192.0.2.127", "192.0.2.128"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ] {
            assert!(contains(subnet, inside), "{subnet} {inside}");
            assert!(!contains(subnet, outside), "{subnet} {outside}");
        }
        assert!(contains("0.0.0.0/0", "203.0.113.1") && !contains("0.0.0.0/0", "::1"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "host", "::/129", "10.0.0.0/-1"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
