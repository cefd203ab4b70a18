//! Pseudo-terminals of a container, and the modes of the user's own terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Context, Result};

/// Both ends of a terminal.
#[derive(Debug)]
pub struct Pty {
    /// The side that the user's terminal is connected to.
    pub master: OwnedFd,
    /// The side that the process sees.
    pub slave: OwnedFd,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Opens a terminal of the `devpts` instance that is mounted at (or is) `dir`.
///
/// The slave comes from the master by `TIOCGPTPEER`, so no path that somebody could exchange is looked up.
pub fn open_in(dir: BorrowedFd<'_>) -> Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = openat(dir, "ptmx", flags, Mode::empty()).on("openat", "ptmx")?;
    unlockpt(&master).on("ioctl TIOCSPTLCK", "ptmx")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).on("ioctl TIOCGPTPEER", "ptmx")?;
    Ok(Pty { master, slave })
}

/// The size of the terminal behind a descriptor.
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<WindowSize> {
    let size = rustix::termios::tcgetwinsize(terminal).on("ioctl TIOCGWINSZ", "a terminal")?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of a terminal; the processes in it get `SIGWINCH`.
pub fn set_window_size(terminal: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    let size =
        rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).on("ioctl TIOCSWINSZ", "a terminal")
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    rustix::termios::isatty(fd)
}

/// A terminal in raw mode: every key goes through as it is. Dropping this restores its modes.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts the terminal behind `fd` into raw mode.
    pub fn enable(fd: BorrowedFd<'_>) -> Result<Self> {
        let terminal = rustix::io::fcntl_dupfd_cloexec(fd, 3).on("fcntl", "a terminal")?;
        let before = tcgetattr(&terminal).on("tcgetattr", "a terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw).on("tcsetattr", "a terminal")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{Mount, MountFlags, MountOption};

    fn devpts() -> OwnedFd {
        let mount = Mount {
            source: "devpts".into(),
            target: "".into(),
            fs_type: "devpts".into(),
            flags: MountFlags::NONE,
            data: vec![MountOption::value("ptmxmode", "0666")],
        };
        mount.detached().unwrap()
    }

    #[test]
    fn a_detached_devpts_has_terminals_and_raw_mode_is_undone() {
        let fs = devpts();
        let pty = open_in(fs.as_fd()).unwrap();
        let size = WindowSize { rows: 7, columns: 70 };
        set_window_size(pty.master.as_fd(), size).unwrap();
        assert_eq!(window_size(pty.slave.as_fd()).unwrap(), size);
        let local = |fd: &OwnedFd| format!("{:?}", tcgetattr(fd).unwrap().local_modes);
        let before = local(&pty.slave);
        let raw = RawMode::enable(pty.slave.as_fd()).unwrap();
        assert_ne!(local(&pty.slave), before);
        drop(raw);
        assert_eq!(local(&pty.slave), before);
        assert!(is_terminal(pty.slave.as_fd()));
    }
}
