//! `kiln create`, and what `kiln run` shares with it: arguments to options, the image, the container.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use kiln_engine::containers::ContainerOptions;
use kiln_engine::images::PullWhen;
use kiln_engine::{Engine, Error, Result};

use super::{OK, pull};
use crate::app::App;
use crate::args::create::{ContainerArgs, CreateArgs, Pull};
use crate::terminal;
use crate::values::{assignment, health, mount, platform, port, quantity, run_option};

pub(super) fn run(args: &CreateArgs, app: &App) -> Result<u8> {
    let engine = app.engine()?;
    let containers = engine.containers();
    let id = create(&engine, &args.container, |options| containers.create(options))?;
    terminal::say(&id).map(|()| OK)
}

/// Has the container made, after its image was fetched where it is missing; its id.
pub(super) fn create(
    engine: &Engine,
    args: &ContainerArgs,
    make: impl FnOnce(&ContainerOptions) -> Result<String>,
) -> Result<String> {
    if let Some(file) = &args.cidfile
        && file.exists()
    {
        let message = format!("the file `{}` is there already", file.display());
        return Err(Error::conflict(message).with_hint("remove it, or give `--cidfile` another name"));
    }
    let options = options(args)?;
    ensure_image(engine, args)?;
    let id = make(&options)?;
    if let Some(file) = &args.cidfile {
        write_id(file, &id)?;
    }
    Ok(id)
}

fn ensure_image(engine: &Engine, args: &ContainerArgs) -> Result<()> {
    let when = match args.pull {
        Pull::Always => PullWhen::Always,
        Pull::Missing => PullWhen::Missing,
        Pull::Never => PullWhen::Never,
    };
    let image = &args.image_and_command[0];
    let platform = platform::or_default(args.platform.as_deref());
    if !engine.images().needs_pull(image, platform.as_deref(), when)? {
        return pull::complete(engine, image, platform.as_deref());
    }
    if when == PullWhen::Missing {
        let wanted = platform.as_ref().map(|wanted| format!(" for `{wanted}`")).unwrap_or_default();
        let line = format!("Image `{image}` is not here{wanted}; pulling it\n");
        let _ = std::io::stderr().write_all(crate::text::neutral(&line).as_bytes());
    }
    pull::to_stderr(engine, image, platform.as_deref())
}

fn write_id(file: &Path, id: &str) -> Result<()> {
    std::fs::write(file, id)
        .map_err(|error| Error::invalid(format!("cannot write `{}`", file.display())).caused_by(error))
}

/// The options of `kiln run` and `kiln create` as the engine's.
pub(super) fn options(args: &ContainerArgs) -> Result<ContainerOptions> {
    let (image, command) = args.image_and_command.split_first().expect("the arguments require an image");
    let cwd =
        std::env::current_dir().map_err(|error| Error::internal("find the working directory", error))?;
    let mut mounts = Vec::new();
    for text in &args.volumes {
        mounts.push(mount::volume(text, &cwd)?);
    }
    for text in &args.mounts {
        mounts.push(mount::long(text, &cwd)?);
    }
    for text in &args.tmpfs {
        mounts.push(mount::tmpfs(text)?);
    }
    let mut ports = Vec::new();
    for text in &args.publish {
        ports.extend(port::parse(text)?);
    }
    Ok(ContainerOptions {
        image: image.clone(),
        platform: platform::or_default(args.platform.as_deref()),
        command: command.to_vec(),
        entrypoint: args
            .entrypoint
            .as_ref()
            .map(|program| if program.is_empty() { Vec::new() } else { vec![program.clone()] }),
        name: args.name.clone(),
        env: assignment::environment(&args.env_files, &args.env)?,
        labels: args.labels.iter().map(|label| assignment::pair(label)).collect(),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        hostname: args.hostname.clone(),
        tty: args.tty,
        open_stdin: args.interactive,
        auto_remove: args.rm,
        init: args.init,
        read_only: args.read_only,
        privileged: args.privileged,
        cgroup_parent: args.cgroup_parent.clone(),
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        mounts,
        ports,
        publish_all: args.publish_all,
        network: run_option::network(&args.network)?,
        add_hosts: args.add_hosts.iter().map(|host| assignment::host(host)).collect::<Result<_>>()?,
        memory: args
            .memory
            .as_ref()
            .map(|text| quantity::bytes("-m", text))
            .transpose()?
            .filter(|bytes| *bytes > 0),
        nano_cpus: args.cpus.as_ref().map(|text| quantity::nano_cpus("--cpus", text)).transpose()?,
        pids_limit: args.pids_limit,
        restart: run_option::restart(&args.restart)?,
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout.map(Duration::from_secs),
        health: health::of(args)?,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use kiln_engine::containers::{NetworkMode, RestartPolicy};

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<ContainerOptions> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        match cli.command {
            Command::Run(args) => options(&args.0.container),
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_program() {
        let options = parse("kiln run --rm -it busybox ls --rm -l -h").unwrap();
        assert_eq!(options.image, "busybox");
        assert_eq!(options.command, ["ls", "--rm", "-l", "-h"]);
        assert!(options.auto_remove && options.tty && options.open_stdin);
    }

    #[test]
    fn each_option_reaches_the_engine() {
        let options = parse(
            "kiln run -d --name web -h box -e A=1 -w /srv -u 33:33 --entrypoint sh --network none --init -l a=b \
             --read-only --cap-add NET_ADMIN --cap-drop ALL -m 64m --cpus 1.5 --pids-limit -1 \
             --restart on-failure:2 --stop-signal INT --stop-timeout 3 --add-host db:10.0.0.1 -P image",
        )
        .unwrap();
        assert_eq!(options.name.as_deref(), Some("web"));
        assert_eq!(options.hostname.as_deref(), Some("box"));
        assert_eq!(options.env, ["A=1"]);
        assert_eq!(options.working_dir.as_deref(), Some("/srv"));
        assert_eq!(options.user.as_deref(), Some("33:33"));
        assert_eq!(options.entrypoint, Some(vec!["sh".to_owned()]));
        assert_eq!(options.network, NetworkMode::None);
        assert_eq!(options.labels, [("a".to_owned(), "b".to_owned())]);
        assert!(options.init && options.read_only && options.publish_all);
        assert_eq!(
            (options.cap_add, options.cap_drop),
            (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()])
        );
        assert_eq!((options.memory, options.nano_cpus), (Some(64 << 20), Some(1_500_000_000)));
        assert_eq!(options.pids_limit, Some(-1));
        assert_eq!(options.restart, RestartPolicy::OnFailure { max: 2 });
        assert_eq!(options.stop_signal.as_deref(), Some("INT"));
        assert_eq!(options.stop_timeout, Some(Duration::from_secs(3)));
        assert_eq!(options.add_hosts, [("db".to_owned(), "10.0.0.1".to_owned())]);
    }

    #[test]
    fn a_check_of_health_is_the_users_where_the_user_says_something() {
        let health = |line: &str| parse(line).unwrap().health;
        assert_eq!(health("kiln run image"), None);
        assert_eq!(health("kiln run --no-healthcheck image").unwrap().test, ["NONE"]);
        let some =
            health("kiln run --health-cmd check --health-interval 1m30s --health-retries 2 image").unwrap();
        assert_eq!(some.test, ["CMD-SHELL", "check"]);
        assert_eq!((some.interval, some.retries), (Some(Duration::from_secs(90)), Some(2)));
        assert_eq!(health("kiln run --health-timeout 5s image").unwrap().test, [""; 0]);
    }

    #[test]
    fn wrong_values_name_their_option() {
        let why = |line: &str| parse(line).unwrap_err().message;
        assert!(why("kiln run -p x image").starts_with("`-p x`"));
        assert!(why("kiln run --network front image").starts_with("`--network front`"));
        assert!(why("kiln run -v relative image").starts_with("`-v relative`"));
        assert!(why("kiln run --health-interval soon image").starts_with("`--health-interval soon`"));
        assert!(why("kiln run --health-timeout 0.1ms image").contains("at least 1ms"));
        assert!(why("kiln run --no-healthcheck --health-retries 1 image").contains("exclude each other"));
    }
}
