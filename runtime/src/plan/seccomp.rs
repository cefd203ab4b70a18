//! System call filters: rules in, a program shaped as a binary search out.
//!
//! A call then costs some eight comparisons instead of hundreds, and loading the program a
//! fifteenth of what a list costs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kiln_sys::caps::CapSet;
use kiln_sys::seccomp::{Instruction, Program};

use crate::profile::syscalls::{Check, ENOSYS, EPERM, Table, Verdict, native};

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
/// Low half of the first argument. The kernel takes `int`s from it alone, so the high half must not matter.
const OFFSET_FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Bit of x32 calls, which the tables do not have.
const X32_BIT: u32 = 0x4000_0000;

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID` and `NEWNET`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default filter for a process with these capabilities; each is built once.
pub fn default_filter(caps: CapSet) -> Arc<Program> {
    static BUILT: OnceLock<Mutex<HashMap<CapSet, Arc<Program>>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(built.entry(caps).or_insert_with(|| Arc::new(compile(native(), caps))))
}

/// The program of several architectures' tables.
fn compile(tables: &[Table], caps: CapSet) -> Program {
    let mut code = vec![statement(LOAD, OFFSET_ARCHITECTURE)];
    for table in tables {
        let block = architecture(table, caps);
        // Jumps with a condition reach 255 instructions; a plain one goes over the block.
        code.push(jump(JUMP_EQUAL, table.audit_arch, 1, 0));
        code.push(statement(JUMP, block.len() as u32));
        code.extend(block);
    }
    code.push(statement(RETURN, KILL_PROCESS));
    // Two tables of at most some hundred ranges are far below the limit, and never empty.
    Program::new(code).unwrap_or_else(|| unreachable!("a filter has between 1 and 4096 instructions"))
}

fn architecture(table: &Table, caps: CapSet) -> Vec<Instruction> {
    let mut code = vec![
        statement(LOAD, OFFSET_NUMBER),
        jump(JUMP_GREATER_EQUAL, X32_BIT, 0, 1),
        statement(RETURN, FAIL | u32::from(ENOSYS)),
    ];
    code.extend(search(&table.ranges(caps)));
    code
}

/// Halves the ranges until one is left.
fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = ranges {
        return leaf(*verdict);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (low, high) = (search(below), search(above));
    let boundary = above.first().map_or(0, |(first, _)| *first);
    let mut code = match u8::try_from(low.len()) {
        Ok(skip) => vec![jump(JUMP_GREATER_EQUAL, boundary, skip, 0)],
        Err(_) => vec![jump(JUMP_GREATER_EQUAL, boundary, 0, 1), statement(JUMP, low.len() as u32)],
    };
    code.extend(low);
    code.extend(high);
    code
}

fn leaf(verdict: Verdict) -> Vec<Instruction> {
    let deny = statement(RETURN, FAIL | u32::from(EPERM));
    let allow = statement(RETURN, ALLOW);
    let argument = statement(LOAD, OFFSET_FIRST_ARGUMENT);
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Errno(number) => vec![statement(RETURN, FAIL | u32::from(number))],
        Verdict::Check(Check::SocketFamily) => {
            vec![argument, jump(JUMP_EQUAL, 38, 1, 0), jump(JUMP_EQUAL, 40, 0, 1), deny, allow]
        }
        Verdict::Check(Check::CloneFlags) => {
            vec![argument, jump(JUMP_SET, NEW_NAMESPACES, 0, 1), deny, allow]
        }
        Verdict::Check(Check::Personality) => {
            let mut code = vec![argument];
            for (index, value) in PERSONALITIES.iter().enumerate() {
                // From each comparison to `allow`, over the ones that follow and over `deny`.
                code.push(jump(JUMP_EQUAL, *value, (PERSONALITIES.len() - index) as u8, 0));
            }
            code.extend([deny, allow]);
            code
        }
    }
}

fn statement(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::syscalls::X86_64;

    /// Runs a filter as the kernel would.
    fn evaluate(program: &Program, arch: u32, number: u32, argument: u64) -> u32 {
        let code = program.instructions();
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let i = code[at];
            at += 1;
            let condition = match i.code {
                LOAD => {
                    accumulator = match i.operand {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCHITECTURE => arch,
                        OFFSET_FIRST_ARGUMENT => argument as u32,
                        other => panic!("load of {other}"),
                    };
                    continue;
                }
                JUMP => {
                    at += i.operand as usize;
                    continue;
                }
                RETURN => return i.operand,
                JUMP_EQUAL => accumulator == i.operand,
                JUMP_GREATER_EQUAL => accumulator >= i.operand,
                JUMP_SET => accumulator & i.operand != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if condition { i.jump_true } else { i.jump_false });
        }
    }

    #[test]
    fn the_program_says_what_the_table_says() {
        for caps in [CapSet(0xa804_25fb), CapSet::NONE, CapSet::all()] {
            let program = compile(native(), caps);
            for table in native() {
                for number in 0..700 {
                    let got = evaluate(&program, table.audit_arch, number, 2);
                    let expected = match table.verdict(number, caps) {
                        Verdict::Allow | Verdict::Check(Check::SocketFamily | Check::CloneFlags) => ALLOW,
                        Verdict::Errno(errno) => FAIL | u32::from(errno),
                        Verdict::Check(Check::Personality) => FAIL | u32::from(EPERM),
                    };
                    assert_eq!(got, expected, "call {number} of {:#x}", table.audit_arch);
                }
            }
        }
    }

    #[test]
    fn arguments_decide_and_their_high_half_does_not() {
        let program = compile(&[X86_64], CapSet(0xa804_25fb));
        let run = |number, argument| evaluate(&program, X86_64.audit_arch, number, argument);
        let denied = FAIL | u32::from(EPERM);
        for (family, expected) in
            [(2, ALLOW), (38, denied), (39, ALLOW), (40, denied), (1 << 32 | 38, denied)]
        {
            assert_eq!(run(41, family), expected, "family {family}");
        }
        for (persona, expected) in
            [(0, ALLOW), (8, ALLOW), (0x2_0008, ALLOW), (0xffff_ffff, ALLOW), (4, denied)]
        {
            assert_eq!(run(135, persona), expected, "personality {persona:#x}");
        }
        for (flags, expected) in
            [(17, ALLOW), (0x1000_0000, denied), (0x2_0011, denied), (0x0100_0000, ALLOW)]
        {
            assert_eq!(run(56, flags), expected, "clone flags {flags:#x}");
        }
        assert_eq!(evaluate(&program, 7, 0, 0), KILL_PROCESS);
        assert_eq!(run(X32_BIT | 1, 0), FAIL | u32::from(ENOSYS));
    }
}
