//! Programs that say which devices the processes of a version 2 control group may use
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`, bpf(2)). What they say is decided elsewhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::{Error, Result};

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Groups beneath may have programs of their own; all of them must agree.
const ALLOW_MULTI: u32 = 2;

/// One instruction of extended BPF (Documentation/bpf/standardization in the kernel's source).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// The destination register in the lower four bits, the source above.
    pub registers: u8,
    /// Instructions to skip, or bytes from an address.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

/// The head of `union bpf_attr` for loading; the kernel takes what is missing as zero.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The head of `union bpf_attr` for attaching.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Has `program` decide for the group whose directory is `cgroup`, until the group is removed. It gets a `struct
/// bpf_cgroup_dev_ctx` and allows with 1. Fails where the kernel has no BPF or refuses the program.
pub fn limit_devices(cgroup: BorrowedFd<'_>, program: &[Instruction]) -> Result<()> {
    let count = u32::try_from(program.len())
        .map_err(|_| Error::new("bpf", "a program for devices", Errno::TOOBIG))?;
    let load = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    // SAFETY: `Load` is the head of the attributes of this command; program and licence outlive the call, which only
    // reads them.
    let loaded = unsafe { bpf(PROG_LOAD, &load) }?;
    // SAFETY: the kernel gave this descriptor to us just now.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let attach = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: loaded.as_fd().as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: `Attach` is the head of the attributes of this command; it has descriptors and numbers only.
    unsafe { bpf(PROG_ATTACH, &attach) }.map(drop)
}

/// # Safety
///
/// `attributes` must be what the command takes, and every address in it valid for the call.
unsafe fn bpf<T>(command: i32, attributes: &T) -> Result<i32> {
    // SAFETY: the caller's promise; the size is that of the attributes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>() as u32)
    };
    match i32::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
            Err(Error::new("bpf", "a program for devices", Errno::from_raw_os_error(errno)))
        }
    }
}
