//! What of the network is out of reach.

use std::net::{Ipv4Addr, TcpListener};

use tfe_runner::isolation::{Isolation, IsolationConfig, Level, Network, NetworkLevel, Sandbox, probe, put_filter, remove_filter};

use super::bench::{Bench, is_root, supervisor};

const NOTHING: [u16; 0] = [];

/// Prints `REACHED` for each port of an address that it reaches.
fn knock(bench: &Bench, network: &Network, address: &str, ports: &[u16]) -> Vec<u16> {
    let isolation = Isolation::Sandbox(Sandbox { network: network.clone(), ..bench.sandbox.clone() });
    let filtered = bench.sandbox.user.filter(|_| network.level == NetworkLevel::Addresses);
    if let Some(user) = filtered {
        put_filter(user, network).unwrap();
    }
    let script = |port: &u16| {
        format!(
            "perl -MIO::Socket::INET -e 'print \"REACHED\" if IO::Socket::INET->new(PeerAddr => \"{address}\", PeerPort => {port}, Timeout => 5)'"
        )
    };
    let reached = ports.iter().copied().filter(|port| bench.run(&isolation, &script(port)).output.contains("REACHED")).collect();
    if let Some(user) = filtered {
        remove_filter(user).unwrap();
    }
    reached
}

/// What this machine can do; a machine of tests can do the most.
fn can(level: NetworkLevel) -> bool {
    let config = IsolationConfig::default();
    let found = probe(&config, &supervisor()).unwrap().network;
    let is_required = std::env::var_os("TFE_TEST_REQUIRE").is_some() && is_root();
    assert!(!is_required || found >= level, "the network can only be bounded at the level {found}; install nft");
    found >= level
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

#[test]
fn a_filter_keeps_this_machine_and_denied_ranges_out_of_reach_but_not_what_is_allowed() {
    if !can(NetworkLevel::Addresses) {
        return;
    }
    let bench = Bench::new();
    let (one, other) = (TcpListener::bind("0.0.0.0:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap());
    let ports = [port(&one), port(&other)];
    let open = Network { level: NetworkLevel::Open, ..Network::default() };
    assert_eq!(knock(&bench, &open, "127.0.0.1", &ports), ports, "without a filter it is in reach");
    let filtered = Network { level: NetworkLevel::Addresses, ..Network::default() };
    for address in ["127.0.0.1", "127.8.8.8", "localhost"] {
        assert_eq!(knock(&bench, &filtered, address, &ports), NOTHING, "{address}");
    }
    let allowed = Network { allowed: vec![format!("localhost:{}", ports[0])], ..filtered.clone() };
    assert_eq!(knock(&bench, &allowed, "127.0.0.1", &ports), ports[..1]);
    // The ranges by themselves.
    let ranged = Network { machine: true, denied: vec!["127.8.0.0/16".parse().unwrap()], ..filtered };
    assert_eq!(knock(&bench, &ranged, "127.8.8.8", &ports), NOTHING);
    assert_eq!(knock(&bench, &ranged, "127.0.0.1", &ports), ports);
    // Nobody else is filtered.
    assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).is_ok());
}

#[test]
fn closed_ports_keep_services_of_this_machine_out_of_reach_for_every_user() {
    if !can(NetworkLevel::Ports) {
        return;
    }
    for level in [Level::Namespaces, Level::Landlock] {
        if level == Level::Landlock && !is_root() {
            continue;
        }
        let bench = Bench::with(level);
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [port(&one), port(&other)];
        let closed = Network { level: NetworkLevel::Ports, allowed: vec![format!("localhost:{}", ports[1])], ..Network::default() };
        assert_eq!(knock(&bench, &closed, "127.0.0.1", &ports), ports[1..], "{level}");
    }
}

#[test]
fn a_network_that_is_cut_is_not_there() {
    let bench = Bench::new();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let cut = Network { level: NetworkLevel::Cut, machine: true, denied: Vec::new(), ..Network::default() };
    assert_eq!(knock(&bench, &cut, "127.0.0.1", &[port(&listener)]), NOTHING);
    let network = Network { level: NetworkLevel::Cut, ..Network::default() };
    let config = IsolationConfig { network, ..IsolationConfig::default() };
    assert_eq!(probe(&config, &supervisor()).unwrap().network, NetworkLevel::Cut);
}
