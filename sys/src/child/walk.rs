//! The walk of a plan inside the cloned child: raw system calls, in order, until one fails.
//!
//! Everything here runs on memory shared with a suspended thread of a process whose other threads go
//! on. Hence: no allocation, no lock, no panic, no access to anything but the plan, the outcome and
//! the stack.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{null, null_mut};

use super::plan::{Exec, Handle, Ids, InitPlan, Step};

/// What the child is given.
pub(super) struct Context<'a> {
    pub(super) plan: &'a InitPlan,
    pub(super) outcome: &'a Outcome,
    pub(super) parent: Option<BorrowedFd<'a>>,
}

/// The failed call of a step.
#[derive(Clone, Copy)]
struct Fault {
    call: &'static str,
    errno: c_int,
}

/// The step that failed, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) step: usize,
    pub(super) call: &'static str,
    pub(super) errno: c_int,
}

/// Where the child notes a failure.
pub(super) struct Outcome(UnsafeCell<Option<Failure>>);

impl Outcome {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// What the child noted. Only called when the child has executed its program or ended.
    pub(super) fn failure(&self) -> Option<Failure> {
        // SAFETY: the child wrote, if at all, before this thread was resumed; a volatile read
        // because the compiler has not seen that write.
        unsafe { self.0.get().read_volatile() }
    }

    fn note(&self, failure: Failure) {
        // SAFETY: the only other user, the parent's thread, is suspended until this child ends.
        unsafe { self.0.get().write_volatile(Some(failure)) }
    }
}

type Done = Result<(), Fault>;

/// Entry point of the child.
pub(super) extern "C" fn main(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a `Context` that lives until this child executes a program or ends.
    let context = unsafe { &*argument.cast::<Context<'_>>() };
    for (step, action) in context.plan.steps.iter().enumerate() {
        if let Err(Fault { call, errno }) = perform(action, context) {
            context.outcome.note(Failure { step, call, errno });
            break;
        }
    }
    // SAFETY: ends this process only (its thread group is its own), running no exit handler.
    unsafe { libc::_exit(125) }
}

fn perform(step: &Step, context: &Context<'_>) -> Done {
    match step {
        Step::JoinCgroup(procs) => write_all("write", procs.raw(), b"0"),
        // SAFETY: plain call on this process's own namespaces.
        Step::Unshare(ns) => check("unshare", unsafe { libc::unshare(ns.bits()) }),
        // SAFETY: as above; the descriptor is checked by the kernel.
        Step::JoinNamespaces(of, ns) => check("setns", unsafe { libc::setns(of.raw(), ns.bits()) }),
        Step::PrivateMounts => mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c""),
        Step::EnterRoot(root) => enter_root(root),
        Step::LeaveHost => leave_host(),
        Step::Mount { source, target, fs_type, flags, data } => mount(source, target, fs_type, *flags, data),
        Step::Attach(tree, target) => attach(tree, target),
        Step::ReadonlyRoot => readonly_root(),
        Step::MakeDir { path, mode } => make_dir(path, *mode),
        Step::MakeNode { path, mode, device } => make_node(path, *mode, *device),
        Step::Owner { path, uid, gid } => owner(path, *uid, *gid),
        Step::MakeLink { target, path } => make_link(target, path),
        Step::WriteFile { path, value } => write_file(path, value),
        Step::Hostname(name) => hostname(name),
        Step::LoopbackUp => loopback_up(),
        // SAFETY: no arguments.
        Step::NewSession => check("setsid", unsafe { libc::setsid() }),
        Step::Stdio(handles) => stdio(handles),
        // SAFETY: the request takes a plain number.
        Step::ControllingTerminal => check("ioctl TIOCSCTTY", unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }),
        Step::Rlimit { resource, soft, hard } => rlimit(*resource, *soft, *hard),
        Step::Umask(mask) => {
            // SAFETY: cannot fail.
            unsafe { libc::umask(*mask) };
            Ok(())
        }
        Step::Bounding(keep, last) => bounding(*keep, *last),
        Step::NoNewPrivileges => no_new_privileges(),
        Step::Seccomp(program) => program.load().map_err(|errno| Fault { call: "seccomp", errno }),
        Step::KeepCapabilities => keep_capabilities(),
        Step::User(ids) => user(ids),
        Step::Capabilities(set) => capabilities(*set, 0),
        Step::AmbientCapabilities(set) => ambient_capabilities(*set),
        Step::WorkingDirectory(path) => working_directory(path),
        Step::DieWithParent => die_with_parent(context.parent),
        Step::CloseDescriptors => {
            // SAFETY: this process has its own descriptor table; only a flag is set.
            check("close_range", unsafe {
                libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int)
            })
        }
        Step::Exec(exec) => execute(exec),
    }
}

fn errno() -> c_int {
    // SAFETY: a thread-local of the suspended thread, which does not use it meanwhile.
    unsafe { *libc::__errno_location() }
}

fn check(call: &'static str, result: impl Into<i64>) -> Done {
    if result.into() < 0 { Err(Fault { call, errno: errno() }) } else { Ok(()) }
}

fn opened(call: &'static str, result: impl Into<i64>) -> Result<c_int, Fault> {
    let fd = result.into();
    if fd < 0 { Err(Fault { call, errno: errno() }) } else { Ok(fd as c_int) }
}

fn close(fd: c_int) {
    // SAFETY: only called on descriptors opened in this file.
    unsafe { libc::close(fd) };
}

fn mount(source: &CStr, target: &CStr, fs_type: &CStr, flags: u64, data: &CStr) -> Done {
    let data = if data.is_empty() { null() } else { data.as_ptr().cast() };
    // SAFETY: all strings are terminated and live in the plan.
    check("mount", unsafe { libc::mount(source.as_ptr(), target.as_ptr(), fs_type.as_ptr(), flags, data) })
}

/// Mounts the new root over the old one and makes them change places.
fn enter_root(root: &Handle) -> Done {
    move_mount(root.raw(), libc::AT_FDCWD, c"/", libc::MOVE_MOUNT_F_EMPTY_PATH)?;
    // SAFETY: the paths are literals; each call only changes this process's view.
    unsafe {
        check("fchdir", libc::fchdir(root.raw()))?;
        check("pivot_root", libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        check("chdir", libc::chdir(c"/".as_ptr()))
    }
}

/// Lets go of the old root, which lies over the new one.
fn leave_host() -> Done {
    // SAFETY: the path is a literal; only this process's mounts change.
    check("umount2", unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) })
}

fn attach(tree: &Handle, target: &CStr) -> Done {
    let place = open_beneath(target, libc::O_PATH)?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let result = move_mount(tree.raw(), place, c"", flags);
    close(place);
    result
}

fn move_mount(from: c_int, to: c_int, path: &CStr, flags: libc::c_uint) -> Done {
    // SAFETY: the strings are terminated; the kernel checks the descriptors.
    check("move_mount", unsafe {
        libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, path.as_ptr(), flags)
    })
}

/// Opens a path of the container, refusing magic links such as `/proc/self/fd/7`.
fn open_beneath(path: &CStr, flags: c_int) -> Result<c_int, Fault> {
    // SAFETY: a zeroed `open_how` is a valid one.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: path and structure live until the call returns, and the size is the structure's.
    opened("openat2", unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    })
}

fn readonly_root() -> Done {
    let attr =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the structure outlives the call and its size is given.
    check("mount_setattr", unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            0,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
}

fn make_dir(path: &CStr, mode: u32) -> Done {
    // SAFETY: the string is terminated.
    match check("mkdir", unsafe { libc::mkdir(path.as_ptr(), mode) }) {
        Err(Fault { errno: libc::EEXIST, .. }) => Ok(()),
        other => other,
    }
}

fn make_node(path: &CStr, mode: u32, device: u64) -> Done {
    // SAFETY: the string is terminated.
    check("mknod", unsafe { libc::mknod(path.as_ptr(), mode, device) })
}

fn owner(path: &CStr, uid: u32, gid: u32) -> Done {
    // SAFETY: the string is terminated.
    check("lchown", unsafe { libc::lchown(path.as_ptr(), uid, gid) })
}

fn make_link(target: &CStr, path: &CStr) -> Done {
    // SAFETY: the strings are terminated.
    check("symlink", unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) })
}

fn hostname(name: &CStr) -> Done {
    // SAFETY: the length is that of the string.
    check("sethostname", unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) })
}

fn no_new_privileges() -> Done {
    // SAFETY: plain numbers.
    check("prctl PR_SET_NO_NEW_PRIVS", unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn write_file(path: &CStr, value: &CStr) -> Done {
    let fd = open_beneath(path, libc::O_WRONLY)?;
    let result = write_all("write", fd, value.to_bytes());
    close(fd);
    result
}

/// Writes a short value in one call, as files of the kernel want it.
fn write_all(call: &'static str, fd: c_int, bytes: &[u8]) -> Done {
    // SAFETY: the buffer is valid for its length.
    check(call, unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as i64)
}

fn loopback_up() -> Done {
    // SAFETY: plain numbers.
    let socket =
        opened("socket", unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a zeroed `ifreq` is a valid one: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as _;
    request.ifr_name[1] = b'o' as _;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as _;
    // SAFETY: the request structure is the one this ioctl takes.
    let result =
        check("ioctl SIOCSIFFLAGS", unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    close(socket);
    result
}

fn stdio(handles: &[Handle; 3]) -> Done {
    for (target, handle) in (0..).zip(handles) {
        // SAFETY: this process has its own descriptor table; the numbers are 0 to 2.
        check("dup2", unsafe { libc::dup2(handle.raw(), target) })?;
    }
    Ok(())
}

fn rlimit(resource: u32, soft: u64, hard: u64) -> Done {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call.
    check("setrlimit", unsafe { libc::setrlimit(resource as _, &raw const limit) })
}

fn bounding(keep: u64, last: u32) -> Done {
    for capability in 0..=last {
        if keep & (1 << (capability & 63)) == 0 {
            // SAFETY: plain numbers.
            check("prctl PR_CAPBSET_DROP", unsafe {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0)
            })?;
        }
    }
    Ok(())
}

/// Raw calls, because the C library's wrappers would change every thread of the shared process.
fn user(ids: &Ids) -> Done {
    let (uid, gid) = (ids.uid, ids.gid);
    // SAFETY: the list is valid for its length; the rest are numbers. Each call changes this task only.
    unsafe {
        if !ids.keeps_groups {
            check("setgroups", libc::syscall(libc::SYS_setgroups, ids.groups.len(), ids.groups.as_ptr()))?;
        }
        check("setresgid", libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check("setresuid", libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

fn capabilities(set: u64, inheritable: u64) -> Done {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let halves = |set: u64| (set as u32, (set >> 32) as u32);
    let ((low, high), (low_kept, high_kept)) = (halves(set), halves(inheritable));
    // Effective, permitted, inheritable; low halves first.
    let data = [low, low, low_kept, high, high, high_kept];
    // SAFETY: both arrays have the layout that version 3 of the call takes.
    check("capset", unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })
}

fn keep_capabilities() -> Done {
    // SAFETY: plain numbers.
    check("prctl PR_SET_KEEPCAPS", unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })
}

fn ambient_capabilities(set: u64) -> Done {
    capabilities(set, set)?;
    for capability in 0..u64::BITS {
        if set & (1 << capability) != 0 {
            // SAFETY: plain numbers.
            check("prctl PR_CAP_AMBIENT", unsafe {
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            })?;
        }
    }
    Ok(())
}

fn working_directory(path: &CStr) -> Done {
    let dir = open_beneath(path, libc::O_PATH | libc::O_DIRECTORY)?;
    // SAFETY: plain descriptor.
    let result = check("fchdir", unsafe { libc::fchdir(dir) });
    close(dir);
    result?;
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is valid for its length. The raw call does not allocate.
    check("getcwd", unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    // The kernel writes `(unreachable)` before a directory that is outside the root.
    if buffer.first() == Some(&b'/') { Ok(()) } else { Err(Fault { call: "getcwd", errno: libc::EXDEV }) }
}

fn die_with_parent(parent: Option<BorrowedFd<'_>>) -> Done {
    // SAFETY: plain numbers.
    check("prctl PR_SET_PDEATHSIG", unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    let Some(parent) = parent else { return Ok(()) };
    // A parent that died before the call above would never be noticed otherwise.
    let mut poll = libc::pollfd { fd: parent.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry, and no waiting.
    match unsafe { libc::poll(&raw mut poll, 1, 0) } {
        0 => Ok(()),
        _ => Err(Fault { call: "poll", errno: libc::ESRCH }),
    }
}

/// Gives signals their default meaning and executes the first candidate that can be executed.
fn execute(exec: &Exec) -> Done {
    reset_signals();
    let mut errno_seen = libc::ENOENT;
    for program in &exec.candidates {
        // SAFETY: terminated strings in null-terminated arrays. On success nothing after this runs.
        unsafe { libc::execve(program.as_ptr(), exec.args.as_ptr(), exec.env.as_ptr()) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            // As a shell does: remember that there was one, and go on looking.
            libc::EACCES => errno_seen = libc::EACCES,
            other => return Err(Fault { call: "execve", errno: other }),
        }
    }
    Err(Fault { call: "execve", errno: errno_seen })
}

fn reset_signals() {
    const SIGNALS: c_int = 64;
    // Handler, flags, restorer and mask as the kernel takes them: all zero is the default action.
    let default = [0u64; 4];
    let none = 0u64;
    // SAFETY: both are valid for the size that the kernel is told; numbers that cannot be changed are
    // refused, harmlessly. The action table and the mask are this process's own. The C library's
    // wrappers would leave out the signals it keeps for itself.
    unsafe {
        for signal in 1..=SIGNALS {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                null_mut::<c_void>(),
                size_of::<u64>(),
            );
        }
        let how = libc::SIG_SETMASK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const none, null_mut::<c_void>(), size_of::<u64>());
    }
}
