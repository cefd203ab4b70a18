//! The 18 instructions and their flags.

use super::FlagValue::{Mount, OneOf, Stage, Switch, Text};
use super::{FlagEntry, InstructionEntry};

const CHOWN: FlagEntry = FlagEntry {
    name: "chown",
    value: Text("USER[:GROUP]"),
    about: "Owner of what is copied; `root` if it is not given. Names are looked up in the image.",
};
const CHMOD: FlagEntry = FlagEntry {
    name: "chmod",
    value: Text("MODE"),
    about: "Mode of what is copied: octal as `0644`, or symbolic as `u+x,go-w`.",
};
const LINK: FlagEntry = FlagEntry {
    name: "link",
    value: Switch,
    about: "Makes a layer that depends on nothing below it, so that it stays cached when the base changes.",
};
const EXCLUDE: FlagEntry = FlagEntry {
    name: "exclude",
    value: Text("PATTERN"),
    about: "Leaves out what matches; may be given several times. Variables are not expanded.",
};

const ADD: &[FlagEntry] = &[
    CHOWN,
    CHMOD,
    LINK,
    FlagEntry { name: "keep-git-dir", value: Switch, about: "Keeps the `.git` directory of a repository." },
    FlagEntry {
        name: "checksum",
        value: Text("sha256:DIGEST"),
        about: "What the remote file must hash to, or the commit that the repository must be at.",
    },
    FlagEntry {
        name: "unpack",
        value: Switch,
        about: "Whether archives are unpacked: local ones are if it is not given, remote ones are not.",
    },
    EXCLUDE,
];

const COPY: &[FlagEntry] = &[
    FlagEntry {
        name: "from",
        value: Stage,
        about: "Copies from an earlier stage (by name or number), an image or a named context.",
    },
    CHOWN,
    CHMOD,
    LINK,
    FlagEntry {
        name: "parents",
        value: Switch,
        about: "Keeps the directories of the source path; `/./` in it says from where on.",
    },
    EXCLUDE,
];

const FROM: &[FlagEntry] = &[FlagEntry {
    name: "platform",
    value: Text("OS/ARCH"),
    about: "The platform of the base image, often `$BUILDPLATFORM`.",
}];

const RUN: &[FlagEntry] = &[
    FlagEntry { name: "mount", value: Mount, about: "Mounts something for this step." },
    FlagEntry {
        name: "network",
        value: OneOf(&["default", "none", "host"]),
        about: "The network of this step.",
    },
    FlagEntry {
        name: "security",
        value: OneOf(&["sandbox", "insecure"]),
        about: "`insecure` runs the step with all privileges; the build must allow it.",
    },
    FlagEntry {
        name: "device",
        value: Text("NAME[,required]"),
        about: "A device by its CDI name; the build must allow it.",
    },
];

const HEALTHCHECK: &[FlagEntry] = &[
    FlagEntry { name: "interval", value: Text("DURATION"), about: "Time between two checks; 30s." },
    FlagEntry { name: "timeout", value: Text("DURATION"), about: "A check that takes longer failed; 30s." },
    FlagEntry {
        name: "start-period",
        value: Text("DURATION"),
        about: "Time to start in which failures do not count; 0s.",
    },
    FlagEntry {
        name: "start-interval",
        value: Text("DURATION"),
        about: "Time between two checks in the start period; 5s.",
    },
    FlagEntry { name: "retries", value: Text("N"), about: "Failures in a row that make it unhealthy; 3." },
];

/// Every instruction, in the order of the alphabet.
pub(crate) const INSTRUCTIONS: &[InstructionEntry] = &[
    InstructionEntry {
        keyword: "ADD",
        form: "ADD [FLAGS] SOURCE… DESTINATION",
        about: "Adds files to the image: from the context (archives are unpacked), from the web or from a Git \
                repository. `COPY` is simpler where it is enough.",
        flags: ADD,
    },
    InstructionEntry {
        keyword: "ARG",
        form: "ARG NAME[=DEFAULT]…",
        about: "Declares variables that `--build-arg` can set. They exist during the build from this line to the end \
                of the stage; before the first `FROM`, only `FROM` sees them.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "CMD",
        form: "CMD [\"PROGRAM\", \"ARGUMENT\"…]",
        about: "What a container runs if nothing else is asked for, or the default arguments of `ENTRYPOINT`. The \
                last one counts.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "COPY",
        form: "COPY [FLAGS] SOURCE… DESTINATION",
        about: "Copies files from the context, a stage, an image or a text in the Dockerfile. The contents of a \
                directory are copied, not the directory itself.",
        flags: COPY,
    },
    InstructionEntry {
        keyword: "ENTRYPOINT",
        form: "ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"…]",
        about: "The program of a container; `CMD` or the words after the image's name are its arguments.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "ENV",
        form: "ENV NAME=VALUE…",
        about: "Sets variables for later steps and for containers.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "EXPOSE",
        form: "EXPOSE PORT[-PORT][/tcp|udp|sctp]…",
        about: "Notes the ports that a container listens on. It publishes none of them.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "FROM",
        form: "FROM [--platform=PLATFORM] IMAGE [AS NAME]",
        about: "Begins a stage on an image, an earlier stage or, with `scratch`, on nothing.",
        flags: FROM,
    },
    InstructionEntry {
        keyword: "HEALTHCHECK",
        form: "HEALTHCHECK [FLAGS] CMD COMMAND  or  HEALTHCHECK NONE",
        about: "Says how to ask whether a container is well. The last one counts.",
        flags: HEALTHCHECK,
    },
    InstructionEntry {
        keyword: "LABEL",
        form: "LABEL NAME=VALUE…",
        about: "Adds notes to the image, such as `org.opencontainers.image.source`.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "MAINTAINER",
        form: "MAINTAINER NAME",
        about: "Deprecated: `LABEL org.opencontainers.image.authors=…` says the same.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "ONBUILD",
        form: "ONBUILD INSTRUCTION",
        about: "Keeps an instruction for builds that have this image as their base.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "RUN",
        form: "RUN [FLAGS] COMMAND",
        about: "Runs a command; what it changes is a new layer.",
        flags: RUN,
    },
    InstructionEntry {
        keyword: "SHELL",
        form: "SHELL [\"PROGRAM\", \"ARGUMENT\"…]",
        about: "The shell of the commands below that are no JSON list; `[\"/bin/sh\", \"-c\"]` before.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "STOPSIGNAL",
        form: "STOPSIGNAL SIGNAL",
        about: "The signal that asks a container to stop, by name or number; SIGTERM if it is not given.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "USER",
        form: "USER USER[:GROUP]",
        about: "Who runs later commands and the container. `COPY` and `ADD` do not look at it.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "VOLUME",
        form: "VOLUME PATH…",
        about: "Notes paths that get a volume in every container.",
        flags: &[],
    },
    InstructionEntry {
        keyword: "WORKDIR",
        form: "WORKDIR PATH",
        about: "The directory of later commands and of the container; made if it is not there. A relative path \
                continues the one before.",
        flags: &[],
    },
];
