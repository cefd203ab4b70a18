//! For which machine a program was made, as the head of its file tells (ELF, `elf(5)`).

/// Where an ELF file says whether its numbers are big-endian, and for which machine it is.
const DATA: usize = 5;
const MACHINE: usize = 18;
/// The value of `DATA` for big-endian.
const BIG_ENDIAN: u8 = 2;

/// The architecture in Go's spelling; nothing for what is no ELF file and for machines without a name there.
pub fn architecture(head: &[u8]) -> Option<&'static str> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let big = head.get(DATA) == Some(&BIG_ENDIAN);
    let machine: [u8; 2] = head.get(MACHINE..MACHINE + 2)?.try_into().ok()?;
    let machine = if big { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    Some(match (machine, big) {
        (3, false) => "386",
        (8, false) => "mips64le",
        (8, true) => "mips64",
        (21, false) => "ppc64le",
        (21, true) => "ppc64",
        (22, true) => "s390x",
        (40, false) => "arm",
        (62, false) => "amd64",
        (183, false) => "arm64",
        (243, false) => "riscv64",
        (258, false) => "loong64",
        _ => return None,
    })
}

/// The architecture of a program that is made for another machine than this one.
pub fn foreign(head: &[u8]) -> Option<&'static str> {
    architecture(head).filter(|found| *found != host())
}

/// This machine's architecture.
pub fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..4].copy_from_slice(b"\x7fELF");
        head[DATA] = data;
        head[MACHINE..MACHINE + 2].copy_from_slice(&machine);
        head
    }

    #[test]
    fn heads_tell_their_machine() {
        assert_eq!(architecture(&head(1, [183, 0])), Some("arm64"));
        assert_eq!(architecture(&head(1, [243, 0])), Some("riscv64"));
        assert_eq!(architecture(&head(2, [0, 22])), Some("s390x"));
        assert_eq!(architecture(&head(1, [21, 0])), Some("ppc64le"));
        assert_eq!(architecture(&head(1, [2, 1])), Some("loong64"));
        assert_eq!(architecture(&head(1, [0xff, 0xff])), None);
        for short in [&b""[..], b"#!/bin/sh", b"\x7fELF", &head(1, [183, 0])[..19]] {
            assert_eq!(architecture(short), None);
        }
    }

    #[test]
    fn this_very_program_is_at_home() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(architecture(&own), Some(host()));
        assert_eq!(foreign(&own), None);
    }
}
