//! A filter of system calls: the parts of the kernel that no run has a use for, and where most of its holes were.

use std::{collections::BTreeMap, io};

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, apply_filter};

use super::doing;

/// Refused whatever their arguments are.
const REFUSED: &[i64] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
];

/// Kinds of sockets that lead past the network's own rules, or into old code.
const REFUSED_SOCKETS: [libc::c_int; 3] = [libc::AF_VSOCK, libc::AF_PACKET, libc::AF_ALG];

/// What makes a new namespace of a new process.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Restricts this process for ever.
pub(super) fn restrict() -> io::Result<()> {
    // Its flags are in memory, where a filter cannot look; told that it does not exist, libraries use `clone`.
    let without_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(without_clone3, libc::ENOSYS)?;
    apply(doing("the system call filter", refused())?, libc::EPERM)
}

fn apply(rules: BTreeMap<i64, Vec<SeccompRule>>, error: libc::c_int) -> io::Result<()> {
    let filter = || {
        let action = SeccompAction::Errno(error.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, std::env::consts::ARCH.try_into()?)?;
        BpfProgram::try_from(filter)
    };
    let program = doing("the system call filter", filter())?;
    doing("the system call filter", apply_filter(&program))
}

fn refused() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = all_refused().map(|number| (number, Vec::new())).collect();
    let flags = (0..u32::BITS).map(|bit| 1 << bit).filter(|flag| NAMESPACES.cast_unsigned() & flag != 0);
    let clones = flags.map(|flag: u32| rule(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag.into()), flag.into()));
    rules.insert(libc::SYS_clone, clones.collect::<Result<_, _>>()?);
    let sockets = REFUSED_SOCKETS.map(|family| rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(family.unsigned_abs())));
    rules.insert(libc::SYS_socket, sockets.into_iter().collect::<Result<_, _>>()?);
    // Types into somebody's terminal.
    rules.insert(libc::SYS_ioctl, vec![rule(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::TIOCSTI)?]);
    Ok(rules)
}

fn rule(argument: u8, length: SeccompCmpArgLen, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
}

#[cfg(target_arch = "x86_64")]
fn all_refused() -> impl Iterator<Item = i64> {
    /// Calls that only this architecture has.
    const OWN: [i64; 3] = [libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm];
    /// The bit of the x32 interface, through which the same calls have other numbers.
    const X32: i64 = 0x4000_0000;
    /// Calls that x32 numbers anew: `ptrace`, `kexec_load`, `process_vm_readv`, `process_vm_writev` (Linux's `syscall_64.tbl`).
    const X32_OWN: [i64; 4] = [521, 528, 539, 540];
    let native = REFUSED.iter().copied().chain(OWN);
    native.clone().chain(native.chain(X32_OWN).map(|number| number | X32))
}

#[cfg(not(target_arch = "x86_64"))]
fn all_refused() -> impl Iterator<Item = i64> {
    REFUSED.iter().copied()
}
