//! Loading a system call filter. What is filtered is decided elsewhere; here it is just a program.

use std::ffi::c_int;

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison is true.
    pub jump_true: u8,
    /// Instructions to skip when it is false.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());

/// A filter that is ready to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// The longest program that the kernel takes.
    pub const MAX: usize = 4096;

    /// A program of these instructions; `None` when there are none or too many.
    pub fn new(instructions: Vec<Instruction>) -> Option<Self> {
        (1..=Self::MAX).contains(&instructions.len()).then_some(Self(instructions))
    }

    /// The instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false: a program has at least one instruction.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Loads it for the calling thread, for ever; on failure the error number. Allocates nothing.
    pub(crate) fn load(&self) -> Result<(), c_int> {
        let program = libc::sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast::<libc::sock_filter>().cast_mut(),
        };
        // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies the program.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        // SAFETY: the calling thread's own error number.
        if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(()) }
    }
}
