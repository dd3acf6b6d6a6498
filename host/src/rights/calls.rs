//! Which system calls the kernel answers: a list of those that a server never makes, each refused
//! with an error.
//!
//! A list of what is refused, not of what is allowed: which calls are made is up to the C library,
//! the runtime and the kernel, and changes with them. One that was forgotten in a list of allowed
//! ones would be a server that stops in the field, and files, ports, capabilities and programs are
//! held by other means already.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// For whom.
#[derive(Clone, Copy, Debug)]
pub(super) enum Set {
    /// The server.
    Server {
        /// Whether it starts programs: compiling is a process of its own.
        may_start_programs: bool,
    },
    /// The process that compiles.
    Compiler,
}

/// What no process of Wharf does: other processes' memory, the kernel's own state, mounts, users,
/// clocks of the machine, and ways around files and descriptors.
const NEVER: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_settimeofday,
    libc::SYS_setuid,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// The same, where only this processor has them.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[];

/// What starts a program.
const PROGRAMS: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// What has to do with the network, and with other processes.
const NETWORK: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
];

/// Sets the filters for this thread and all that it begins later; whether that could be done.
pub(super) fn restrict(set: Set) -> bool {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return false;
    };
    let mut rules = Rules::default();
    rules.refuse(NEVER);
    rules.refuse(NEVER_HERE);
    rules.refuse_namespaces();
    match set {
        Set::Server { may_start_programs } => {
            rules.refuse_unusual_sockets();
            if !may_start_programs {
                rules.refuse(PROGRAMS);
            }
        }
        Set::Compiler => {
            rules.refuse(PROGRAMS);
            rules.refuse(NETWORK);
        }
    }
    let filters = [
        rules.compile(libc::EPERM, arch),
        // What it would make stands in memory, where no filter can look: said not to exist, the C
        // library takes the older call, which is looked at above.
        Rules::only(libc::SYS_clone3).compile(libc::ENOSYS, arch),
    ];
    filters.iter().all(|filter| {
        let filter = filter.as_ref();
        filter.is_some_and(|filter| apply_filter(filter).is_ok())
    })
}

/// Calls that are refused, and for which arguments; no rule is any.
#[derive(Default)]
struct Rules(BTreeMap<i64, Vec<SeccompRule>>);

impl Rules {
    fn only(call: c_long) -> Self {
        let mut rules = Self::default();
        rules.refuse(&[call]);
        rules
    }

    fn refuse(&mut self, calls: &[c_long]) {
        for call in calls {
            self.add(*call, Vec::new());
        }
    }

    fn add(&mut self, call: c_long, rules: Vec<SeccompRule>) {
        // The same calls again under the numbers of the ABI with short pointers, where the kernel
        // has that: nothing here uses it, and it must not be a way around.
        #[cfg(target_arch = "x86_64")]
        self.0.insert(call | 0x4000_0000, rules.clone());
        self.0.insert(call, rules);
    }

    /// `clone` may make threads and processes, and no world of their own for them.
    fn refuse_namespaces(&mut self) {
        const NEW: libc::c_int = libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET;
        let bits = (0..31).map(|bit| 1_u64 << bit);
        let bits = bits.filter(|bit| bit & NEW as u64 != 0);
        let rules = bits.filter_map(|bit| rule(0, SeccompCmpOp::MaskedEq(bit), bit));
        self.add(libc::SYS_clone, rules.collect());
    }

    /// Sockets are of the internet, of this machine, or ask the kernel which addresses there are.
    fn refuse_unusual_sockets(&mut self) {
        let families = [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ];
        let conditions = families.iter().filter_map(|family| {
            let family = u64::try_from(*family).ok()?;
            condition(0, SeccompCmpOp::Ne, family)
        });
        let other = SeccompRule::new(conditions.collect());
        self.add(libc::SYS_socket, other.into_iter().collect());
    }

    fn compile(self, errno: libc::c_int, arch: TargetArch) -> Option<BpfProgram> {
        let refused = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(self.0, SeccompAction::Allow, refused, arch).ok()?;
        filter.try_into().ok()
    }
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Option<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value).ok()
}

fn rule(argument: u8, is: SeccompCmpOp, value: u64) -> Option<SeccompRule> {
    SeccompRule::new(vec![condition(argument, is, value)?]).ok()
}
