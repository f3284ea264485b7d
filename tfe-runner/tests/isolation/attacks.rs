//! The list of attacks.

use tfe_runner::isolation::{Isolation, Level};

use super::bench::{Bench, is_root};

/// An attempt that prints `REACHED` when it gets where it should not.
struct Attack {
    name: &'static str,
    script: &'static str,
    /// Whether it gets there without a sandbox; otherwise that depends on the machine, or would harm it.
    works_openly: bool,
    /// Whether it is out of reach without namespaces too.
    needs_namespaces: bool,
}

const fn attack(name: &'static str, script: &'static str) -> Attack {
    Attack { name, script, works_openly: true, needs_namespaces: false }
}

/// One that is not made without a sandbox.
const fn quiet(name: &'static str, script: &'static str) -> Attack {
    Attack { works_openly: false, ..attack(name, script) }
}

/// One that only namespaces keep out.
const fn deep(name: &'static str, script: &'static str) -> Attack {
    Attack { needs_namespaces: true, ..attack(name, script) }
}

const ATTACKS: &[Attack] = &[
    attack("the server's environment", "grep -qa password /proc/$SERVER/environ && echo REACHED"),
    quiet("anybody's environment", "grep -qa with-a-password /proc/[0-9]*/environ && echo REACHED"),
    deep("seeing processes of others", "[ -e /proc/$SERVER ] && echo REACHED"),
    attack("the passwords of the machine", "head -c 1 /etc/shadow && echo REACHED"),
    attack("users of the machine", "grep -q ^root: /etc/shadow && echo REACHED"),
    attack("the database", "cat $OUTSIDE/data/database && echo REACHED"),
    deep("that there is a database", "[ -e $OUTSIDE/data/database ] && echo REACHED"),
    attack("another run's configuration", "cat $OUTSIDE/runs/other/config/main.tf && echo REACHED"),
    attack("the list of runs", "ls $OUTSIDE/runs | grep -q other && echo REACHED"),
    attack("a file in another run", "echo x > $OUTSIDE/runs/other/config/x.tf && echo REACHED"),
    attack("a new provider in the mirror", "echo x > $MIRROR/new && echo REACHED"),
    attack("a provider of the mirror", "echo x >> $MIRROR/provider && echo REACHED"),
    attack("the mirror's name", "mv $MIRROR/provider $MIRROR/gone && echo REACHED"),
    attack("programs of the machine", "touch /usr/bin/tfe-test && rm /usr/bin/tfe-test && echo REACHED"),
    attack("settings of the machine", "touch /etc/tfe-test && rm /etc/tfe-test && echo REACHED"),
    attack("a file in the root", "touch /tfe-test && rm /tfe-test && echo REACHED"),
    attack("a signal to the server", "kill -0 $SERVER && echo REACHED"),
    attack("the server's memory", "head -c 1 /proc/$SERVER/maps | grep -q . && echo REACHED"),
    attack("tracing the server", "perl -e 'print \"REACHED\" if syscall(101, 16, $ENV{SERVER}+0, 0, 0) == 0'"),
    attack("a user namespace", "unshare -U true && echo REACHED"),
    attack("a mount", "mkdir $OWN/m; mount -t tmpfs none $OWN/m && umount $OWN/m && echo REACHED"),
    attack("another root", "chroot / true && echo REACHED"),
    attack("a raw socket", "perl -MSocket -e 'print \"REACHED\" if socket(S, AF_INET, SOCK_RAW, 1)'"),
    attack("all packets", "perl -MSocket -e 'print \"REACHED\" if socket(S, 17, SOCK_RAW, 0)'"),
    attack("the host of a virtual machine", "perl -MSocket -e 'print \"REACHED\" if socket(S, 40, SOCK_STREAM, 0)'"),
    attack("a program of root's", "[ $($MIRROR/id -u) = 0 ] && echo REACHED"),
    attack("the kernel's log", "dmesg | grep -q . && echo REACHED"),
    deep("shared memory of others", "perl -e 'print \"REACHED\" if shmread($ENV{SHARED}, $_, 0, 8)'"),
    attack(
        "a hidden socket",
        "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); print \"REACHED\" if connect(S, pack(\"S a*\", 1, \"\\0tfe-test-$ENV{PORT}\"))'",
    ),
    attack(
        "a socket in a directory",
        "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); print \"REACHED\" if connect(S, sockaddr_un(\"$ENV{OUTSIDE}/docker.sock\"))'",
    ),
    quiet("the disk", "for d in /dev/vda /dev/sda /dev/nvme0n1 /dev/mem /dev/kvm; do head -c 1 $d >/dev/null 2>&1 && echo REACHED; done"),
    attack("a disk made by hand", "mknod $OWN/disk b 1 0 && echo REACHED"),
    attack("the kernel's settings", "value=$(cat /proc/sys/vm/swappiness) && echo $value > /proc/sys/vm/swappiness && echo REACHED"),
    attack("rings of system calls", "perl -e 'syscall(425, 0, 0); print \"REACHED\" if $! != 1'"),
    attack("programs in the kernel", "perl -e 'syscall(321, 99, 0, 0); print \"REACHED\" if $! != 1'"),
    attack("the kernel's keys", "perl -e 'print \"REACHED\" if syscall(250, 0, -3, 1) > 0'"),
    attack("typing into a terminal", "perl -e 'open(F, \"/dev/null\"); my $x = \"x\"; ioctl(F, 0x5412, $x); print \"REACHED\" if $! != 1'"),
    attack("the memory of children", "perl -e 'syscall(310, $$, 0, 0, 0, 0, 0); print \"REACHED\" if $! != 1'"),
    attack(
        "more rights",
        "grep -q '^CapBnd:.*[1-9a-f]' /proc/self/status && grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && echo REACHED",
    ),
    attack("rights to come", "grep -q '^NoNewPrivs:.0' /proc/self/status && echo REACHED"),
    quiet("the sandbox's first process", "ls /proc/1/fd/ /proc/1/root/ && echo REACHED"),
    quiet("files that were left open", "[ $(ls /proc/self/fd | wc -l) -gt 5 ] && ls -l /proc/self/fd && echo REACHED"),
    quiet("the name of the machine", "hostname evil && echo REACHED"),
    quiet("control groups", "mkdir /sys/fs/cgroup/tfe-test && echo REACHED"),
    quiet("another name for its own place", "mv $OWN $OWN.old && echo REACHED"),
];

fn assert_contained(level: Level) {
    let mut bench = Bench::with(level);
    let isolation = bench.sandboxed();
    assert!(
        bench.run(&isolation, "echo here > $OWN/file && cat $OWN/file $MIRROR/provider").output.contains("here\nbinary"),
        "it can work"
    );
    let tried = ATTACKS.iter().filter(|attack| level == Level::Namespaces || !attack.needs_namespaces);
    let reached: Vec<_> = tried
        .filter_map(|attack| {
            let output = bench.run(&isolation, attack.script).output;
            output.contains("REACHED").then(|| format!("{}: {output}", attack.name))
        })
        .collect();
    assert!(reached.is_empty(), "reached from the sandbox: {reached:#?}");
    assert!(bench.is_served());
    // A parent of its place may exist in there; it is not this one.
    bench.run(&isolation, "touch $OWN/../beside");
    assert!(!bench.own().with_file_name("beside").exists());
}

#[test]
fn no_attack_reaches_anything_from_the_sandbox() {
    assert_contained(Level::Namespaces);
}

#[test]
fn no_attack_reaches_anything_without_namespaces_either() {
    if is_root() {
        assert_contained(Level::Landlock);
    }
}

#[test]
fn the_same_attacks_work_without_a_sandbox() {
    if !is_root() || cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let bench = Bench::new();
    for attack in ATTACKS.iter().filter(|attack| attack.works_openly) {
        let output = bench.run(&Isolation::None, attack.script).output;
        assert!(output.contains("REACHED"), "{} is no attack: {output}", attack.name);
    }
}

#[test]
fn a_server_can_be_killed_without_a_sandbox_and_not_from_one() {
    let mut bench = Bench::new();
    bench.run(&bench.sandboxed(), "kill -9 $SERVER; kill -9 -1");
    assert!(bench.is_served());
    bench.run(&Isolation::None, "kill -9 $SERVER");
    super::bench::until("the server's end", || !bench.is_served());
}
