//! What of the network runs reach. Providers need the internet; nobody but the operator needs the machine that a run
//! happens to be on, its database, or the address where a cloud hands out that machine's credentials.

use std::{
    collections::BTreeSet,
    fmt, fs,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What of the network a run reaches, as an operator chooses it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    /// By what means that is so. [`probe`](super::probe) finds the best; here it is the least that will do.
    pub level: NetworkLevel,
    /// Ranges that are out of reach.
    pub denied: Vec<AddressRange>,
    /// Whether this machine's own addresses, loopback among them, are in reach. A run does not reach a port of its own
    /// there either.
    pub machine: bool,
    /// What is in reach nevertheless, as `host:port`, such as the server's public address. Name servers always are.
    pub allowed: Vec<String>,
}

/// By what means a network is bounded, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkLevel {
    /// Not at all.
    Open,
    /// Landlock closes TCP ports, whatever the address: that of metadata services (80), and those that somebody on this
    /// machine listened on when the job, or without namespaces the step, began; apart from 443, 22, 53 and allowed ones.
    /// Other protocols are open.
    Ports,
    /// A rule of `nft` for the run's user; for runners that are root.
    Addresses,
    /// There is no network.
    Cut,
}

/// A range of addresses, such as `169.254.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    address: IpAddr,
    prefix: u8,
}

/// Not a range of addresses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("\"{0}\" is not a range of addresses; write it like 169.254.0.0/16")]
pub struct NotARange(String);

/// Where clouds tell a machine its credentials, and other addresses of one link: AWS, Azure and Google
/// (`169.254.169.254`, `fd00:ec2::254`, `fd20:ce::254`), Azure's wire server, Alibaba.
const DENIED: [&str; 6] =
    ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"];
/// The port of metadata services.
const METADATA_PORT: u16 = 80;
/// Ports without which nothing works: registries, version control, names.
const NEEDED_PORTS: [u16; 3] = [443, 22, 53];
const NAME_PORT: u16 = 53;

impl Default for Network {
    fn default() -> Self {
        let denied = DENIED.iter().filter_map(|range| range.parse().ok()).collect();
        Self { level: NetworkLevel::Open, denied, machine: false, allowed: Vec::new() }
    }
}

impl Network {
    /// The addresses of what is allowed, now. A name without an address cannot be reached anyway.
    pub(super) fn allowed_addresses(&self) -> Vec<SocketAddr> {
        let named = self.allowed.iter().filter_map(|name| name.to_socket_addrs().ok()).flatten();
        named.chain(name_servers().into_iter().map(|address| SocketAddr::new(address, NAME_PORT))).collect()
    }

    /// The ports that are closed when only ports can be.
    pub(super) fn closed_ports(&self) -> BTreeSet<u16> {
        let mut ports: BTreeSet<u16> = if self.machine { BTreeSet::new() } else { listening_ports() };
        ports.insert(METADATA_PORT);
        let allowed: Vec<u16> = self.allowed.iter().filter_map(|name| name.rsplit_once(':')?.1.parse().ok()).collect();
        ports.retain(|port| !NEEDED_PORTS.contains(port) && !allowed.contains(port));
        ports
    }
}

fn name_servers() -> Vec<IpAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    named.filter_map(|address| address.split('%').next()?.trim().parse().ok()).collect()
}

/// Ports that somebody listens on: in `/proc/net/tcp` (`proc_pid_net(5)`), the second field is the address and port in
/// hexadecimal and the fourth the state, of which 0A is listening.
fn listening_ports() -> BTreeSet<u16> {
    let text = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = fields.get(1)?.rsplit_once(':')?.1;
        u16::from_str_radix(port, 16).ok().filter(|_| fields.get(3) == Some(&"0A"))
    };
    text.lines().filter_map(port).collect()
}

impl NetworkLevel {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ports => "ports",
            Self::Addresses => "addresses",
            Self::Cut => "cut",
        }
    }
}

impl fmt::Display for NetworkLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AddressRange {
    /// Whether it is of version 4.
    pub(super) const fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }
}

impl FromStr for AddressRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let parsed = || {
            let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok().filter(|prefix| *prefix <= most))?;
            Some(Self { address, prefix })
        };
        parsed().ok_or_else(|| NotARange(text.to_owned()))
    }
}

impl TryFrom<String> for AddressRange {
    type Error = NotARange;

    fn try_from(text: String) -> Result<Self, NotARange> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        for text in ["169.254.0.0/16", "fd00:ec2::254/128"] {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.1".parse::<AddressRange>().unwrap().to_string(), "10.0.0.1/32");
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/x", "host/8", "10.0.0.0/8; drop"] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
        }
        assert_eq!(Network::default().denied.len(), DENIED.len());
    }
}
