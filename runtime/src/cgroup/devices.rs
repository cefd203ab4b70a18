//! The device rule of a version 2 group: the lines that version 1 is told, as a program.

use kiln_sys::bpf::Instruction;

/// `struct bpf_cgroup_dev_ctx`: what is asked and what kind of node in one word, then its two numbers.
const ACCESS_AND_KIND: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
/// Kinds of nodes, as the kernel counts them.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
/// What can be asked: to make a node, to read, to write.
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// Registers: the context and the answer are the kernel's choice.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const NUMBERS: [u8; 2] = [4, 5];

/// One line that allows something: `c 1:3 rwm`, with `*` for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    kind: i32,
    numbers: [Option<i32>; 2],
    access: i32,
}

impl Rule {
    fn parse(line: &str) -> Option<Rule> {
        let mut words = line.split(' ');
        let kind = match words.next()? {
            "c" => CHARACTER,
            "b" => BLOCK,
            _ => return None,
        };
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text: &str| match text {
            "*" => Some(None),
            text => text.parse().ok().filter(|number: &i32| *number >= 0).map(Some),
        };
        let access = words.next()?.chars().try_fold(0, |access, letter| match letter {
            'm' => Some(access | MAKE),
            'r' => Some(access | READ),
            'w' => Some(access | WRITE),
            _ => None,
        })?;
        Some(Rule { kind, numbers: [number(major)?, number(minor)?], access })
    }

    /// Answers yes where the rule allows what is asked; else goes on behind itself.
    fn instructions(&self) -> Vec<Instruction> {
        let mut checks = vec![skip_unless_equal(KIND, self.kind)];
        if self.access != MAKE | READ | WRITE {
            // What is asked must have no bit beyond those allowed. The context is not needed any more.
            checks.extend([copy(CONTEXT, ASKED), and(CONTEXT, !self.access), skip_unless_equal(CONTEXT, 0)]);
        }
        let numbers = NUMBERS.iter().zip(self.numbers);
        checks.extend(numbers.filter_map(|(register, number)| Some(skip_unless_equal(*register, number?))));
        let length = checks.len();
        for (at, check) in checks.iter_mut().enumerate().filter(|(_, check)| check.code == JUMP_UNLESS_EQUAL)
        {
            // Over the other checks and the answer.
            check.offset = (length - at - 1 + 2) as i16;
        }
        checks.into_iter().chain(answer(1)).collect()
    }
}

/// The program that allows what one of `lines` does and nothing else; `None` if a line cannot be read.
pub(super) fn program(lines: &[&str]) -> Option<Vec<Instruction>> {
    let mut program = vec![
        load(KIND, ACCESS_AND_KIND),
        and(KIND, 0xffff),
        load(ASKED, ACCESS_AND_KIND),
        instruction(SHIFT_RIGHT, ASKED, 0, 16),
        load(NUMBERS[0], MAJOR),
        load(NUMBERS[1], MINOR),
    ];
    for line in lines {
        program.extend(Rule::parse(line)?.instructions());
    }
    program.extend(answer(0));
    Some(program)
}

// Operations: a word from memory, and 32 bit arithmetic and jumps.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb4;
const COPY: u8 = 0xbc;
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

fn instruction(code: u8, to: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to, offset, immediate }
}

fn load(to: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: to | CONTEXT << 4, offset, immediate: 0 }
}

fn copy(to: u8, from: u8) -> Instruction {
    Instruction { code: COPY, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn and(register: u8, bits: i32) -> Instruction {
    instruction(AND, register, 0, bits)
}

fn skip_unless_equal(register: u8, value: i32) -> Instruction {
    instruction(JUMP_UNLESS_EQUAL, register, 0, value)
}

fn answer(value: i32) -> [Instruction; 2] {
    [instruction(SET, ANSWER, 0, value), instruction(EXIT, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use super::super::layout::Layout;
    use super::super::limits::DEFAULT_DEVICES;
    use super::*;

    #[test]
    fn lines_are_read_as_the_kernel_reads_them() {
        let rule = |kind, numbers, access| Some(Rule { kind, numbers, access });
        assert_eq!(Rule::parse("c 1:3 rwm"), rule(CHARACTER, [Some(1), Some(3)], 7));
        assert_eq!(Rule::parse("b *:* m"), rule(BLOCK, [None, None], MAKE));
        for bad in ["", "a", "c 1 r", "c 1:x r", "c 1:-2 r", "c 1:2 q", "x 1:2 r"] {
            assert_eq!(Rule::parse(bad), None, "{bad}");
        }
    }

    /// The kernel is asked: a group of its own may read what every container may, and no other node, even one that it made.
    #[test]
    fn a_group_of_version_2_may_use_its_devices_and_no_others() {
        // A host without version 2 has nothing to limit by a program.
        let Some(mount) = Layout::of_host().unwrap().v2.as_deref() else { return };
        let group = mount.join(format!("kiln-devices-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(&group).unwrap();
        let allowed: Vec<&str> = DEFAULT_DEVICES.into_iter().chain(["c 1:11 w"]).collect();
        kiln_sys::bpf::limit_devices(directory.as_fd(), &program(&allowed).unwrap()).unwrap();
        let script = "echo 0 > $0/cgroup.procs || exit 9; cd $1; \
                      head -c 1 /dev/zero > /dev/null && echo read-zero; \
                      mknod log c 1 11 && echo made-log; true < log && echo read-log; \
                      true >> log && echo wrote-log; \
                      mknod disk b 7 0 && echo made-disk; true < disk && echo read-disk; true";
        let output = Command::new("sh").args(["-c", script]).args([&group, folder.path()]).output().unwrap();
        // The directory cannot go before the shell has left it for good.
        while std::fs::remove_dir(&group).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
        {
            std::thread::yield_now();
        }
        let said = String::from_utf8(output.stdout).unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "read-zero\nmade-log\nwrote-log\nmade-disk\n", "{complaints}");
        assert_eq!(complaints.matches("not permitted").count(), 2, "{complaints}");
    }
}
