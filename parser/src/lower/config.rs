//! Instructions that only change the image's configuration.

use kiln_oci::Healthcheck as HealthConfig;
use kiln_oci::config::Empty;

use super::history::{plain_health, plain_list, quoted_list};
use super::scope::Scope;
use super::stage::StageState;
use crate::Diagnostic;
use crate::ast::{Arg, CommandLine, Env, Expose, Healthcheck, Instruction, KeyValue, Label};
use crate::instruction::{is_signal, ports};
use crate::plan::Plan;

/// Arguments that are for the builder itself and never become variables.
pub(super) const PRIVATE: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Applies one instruction.
pub(super) fn apply(
    plan: &Plan,
    state: &mut StageState,
    scope: &Scope<'_>,
    instruction: &Instruction,
) -> Result<(), Diagnostic> {
    match instruction {
        Instruction::Arg(arg) => declare(plan, state, scope, arg),
        Instruction::Env(env) => set_env(state, scope, env),
        Instruction::Label(label) => set_labels(state, scope, label),
        Instruction::Expose(expose) => add_ports(state, scope, expose),
        Instruction::Cmd(command) => {
            set_cmd(state, command);
            Ok(())
        }
        Instruction::Entrypoint(command) => {
            set_entrypoint(state, command);
            Ok(())
        }
        Instruction::Healthcheck(check) => {
            set_health(state, check);
            Ok(())
        }
        Instruction::Maintainer(author) => {
            state.config.author = Some(author.clone());
            state.record(format!("MAINTAINER {author}"));
            Ok(())
        }
        Instruction::Onbuild(onbuild) => {
            state.config.config.on_build.push(onbuild.text.clone());
            Ok(())
        }
        Instruction::Shell(shell) => {
            state.config.config.shell = Some(shell.clone());
            state.record(format!("SHELL {}", plain_list(shell)));
            Ok(())
        }
        Instruction::StopSignal(signal) => set_stop_signal(state, scope, signal),
        Instruction::User(user) => {
            let user = scope.word(user)?;
            state.record(format!("USER {user}"));
            state.config.config.user = user;
            Ok(())
        }
        Instruction::Volume(volumes) => add_volumes(state, scope, volumes),
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_) => {
            Err(scope.error("this instruction makes a layer and cannot be applied as configuration"))
        }
    }
}

/// `--build-arg` beats the default, the default beats the global `ARG`; without any, nothing is defined. Each sees
/// those before it on the same line; a default that is not used is not expanded.
fn declare(plan: &Plan, state: &mut StageState, scope: &Scope<'_>, arg: &Arg) -> Result<(), Diagnostic> {
    let mut created_by = "ARG".to_owned();
    for (name, default) in &arg.arguments {
        let value = match (plan.options.build_args.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(scope.word_after(state, default)?),
            (None, None) => plan.global.get(name),
        };
        created_by.push(' ');
        created_by.push_str(name);
        if let Some(value) = &value {
            created_by.push('=');
            created_by.push_str(value);
            if !PRIVATE.contains(&name.as_str()) {
                state.changes.set(name, value);
            }
        }
        state.build_args.push((name.clone(), value));
    }
    state.record(created_by);
    Ok(())
}

fn set_env(state: &mut StageState, scope: &Scope<'_>, env: &Env) -> Result<(), Diagnostic> {
    let mut created_by = "ENV".to_owned();
    for (name, value) in expand_pairs(scope, &env.variables)? {
        if name.is_empty() {
            return Err(scope.error("ENV names can not be blank"));
        }
        created_by.push_str(&format!(" {name}={value}"));
        state.changes.set(&name, &value);
        state.env_index.set(&mut state.config.config.env, &name, &value);
    }
    state.record(created_by);
    Ok(())
}

fn set_labels(state: &mut StageState, scope: &Scope<'_>, label: &Label) -> Result<(), Diagnostic> {
    let mut created_by = "LABEL".to_owned();
    for (name, value) in expand_pairs(scope, &label.labels)? {
        created_by.push_str(&format!(" {name}={value}"));
        state.config.config.labels.insert(name, value);
    }
    state.record(created_by);
    Ok(())
}

fn expand_pairs(scope: &Scope<'_>, pairs: &[KeyValue]) -> Result<Vec<(String, String)>, Diagnostic> {
    pairs.iter().map(|pair| Ok((scope.word(&pair.key)?, scope.word(&pair.value)?))).collect()
}

fn add_ports(state: &mut StageState, scope: &Scope<'_>, expose: &Expose) -> Result<(), Diagnostic> {
    let mut specs = Vec::new();
    for port in &expose.ports {
        specs.extend(scope.words(port)?);
    }
    let ports = ports(&specs).map_err(|problem| scope.error(problem.message).with_help(problem.help))?;
    state.record(format!("EXPOSE {}", plain_list(&ports)));
    state.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
    Ok(())
}

fn set_cmd(state: &mut StageState, command: &CommandLine) {
    let args = command.with_shell(&state.shell());
    state.record(format!("CMD {}", quoted_list(&args)));
    state.config.config.cmd = Some(args);
    // Docker's key; BuildKit says so of every CMD.
    state.config.config.other.insert("ArgsEscaped".to_owned(), true.into());
    state.cmd_set = true;
}

/// An inherited CMD is of no use to another program.
fn set_entrypoint(state: &mut StageState, command: &CommandLine) {
    let args = command.with_shell(&state.shell());
    state.record(format!("ENTRYPOINT {}", quoted_list(&args)));
    state.config.config.entrypoint = Some(args).filter(|args| !args.is_empty());
    if !state.cmd_set {
        state.config.config.cmd = None;
    }
}

fn set_health(state: &mut StageState, check: &Healthcheck) {
    let config = match check {
        Healthcheck::None => HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() },
        Healthcheck::Cmd(health) => HealthConfig {
            test: match &health.command {
                CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                CommandLine::Exec(args) => {
                    ["CMD".to_owned()].into_iter().chain(args.iter().cloned()).collect()
                }
            },
            interval: health.interval,
            timeout: health.timeout,
            start_period: health.start_period,
            start_interval: health.start_interval,
            retries: health.retries,
        },
    };
    state.record(format!("HEALTHCHECK {}", plain_health(&config)));
    state.config.config.healthcheck = Some(config);
}

fn set_stop_signal(state: &mut StageState, scope: &Scope<'_>, signal: &str) -> Result<(), Diagnostic> {
    let signal = scope.word(signal)?;
    if !is_signal(&signal) {
        return Err(scope.error(format!("STOPSIGNAL {signal}: invalid signal")));
    }
    state.record(format!("STOPSIGNAL {signal}"));
    state.config.config.stop_signal = Some(signal);
    Ok(())
}

fn add_volumes(state: &mut StageState, scope: &Scope<'_>, volumes: &[String]) -> Result<(), Diagnostic> {
    let volumes = volumes.iter().map(|volume| scope.word(volume)).collect::<Result<Vec<_>, _>>()?;
    if volumes.iter().any(String::is_empty) {
        return Err(scope.error("VOLUME specified can not be an empty string"));
    }
    state.record(format!("VOLUME {}", plain_list(&volumes)));
    state.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
    Ok(())
}
