//! `RUN` to an exec operation.

use kiln_graph::exec::Device;
use kiln_graph::{Edge, ExecOp, Mount, Network, Op, Security};

use super::Lowerer;
use super::mounts::Mounts;
use super::scope::Scope;
use super::stage::StageState;
use crate::Diagnostic;
use crate::ast::{CommandLine, Run};
use crate::heredoc;
use crate::plan::{StagePlan, is_proxy};

/// Build argument that names the host of every `RUN`.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// Where a script given as heredoc is seen.
const SCRIPT_DIR: &str = "/dev/pipes";
/// Largest sum of the environments of all `RUN`s of a build in bytes.
const MAX_ENVIRONMENTS: usize = 128 << 20;

impl Lowerer<'_> {
    pub(super) fn lower_run(
        &mut self,
        stage: &StagePlan,
        state: &mut StageState,
        scope: &Scope<'_>,
        run: &Run,
    ) -> Result<(), Diagnostic> {
        let mut inputs: Vec<Edge> = state.edge.into_iter().collect();
        let mut exec = ExecOp::new(Vec::new(), state.platform.clone(), state.edge.map(|_| 0));
        let mut title = scope.title();
        exec.args = self.arguments(state, scope, run, &mut exec.mounts, &mut inputs, &mut title)?;
        exec.env = self.environment(state, scope)?;
        exec.cwd = state.cwd();
        exec.user.clone_from(&state.config.config.user);
        self.apply_options(&mut exec, state, run);
        let mounts = self.mounts(stage, state, scope, run, &mut inputs)?;
        exec.apply(mounts);
        let created_by = created_by(state, &exec.args);
        let meta = state.meta(scope.node, &title);
        let id = self.add(Op::Exec(exec), inputs, meta)?;
        state.edge = Some(id.output());
        state.record_layer(created_by);
        Ok(())
    }

    /// The process's arguments; a script given as heredoc is mounted and run by itself.
    fn arguments(
        &mut self,
        state: &StageState,
        scope: &Scope<'_>,
        run: &Run,
        mounts: &mut Vec<Mount>,
        inputs: &mut Vec<Edge>,
        title: &mut String,
    ) -> Result<Vec<String>, Diagnostic> {
        let (CommandLine::Shell(text), Some(first)) = (&run.command, run.heredocs.first()) else {
            return Ok(run.command.with_shell(&state.shell()));
        };
        let mut script = text.clone();
        if heredoc::word(text).is_some() {
            title.push_str(&format!(" ({})", summary(&first.content)));
            script = first.text();
            if script.starts_with("#!") {
                let edge = self.document(scope, &first.name, script.into_bytes(), 0o755)?;
                mounts.push(bind(edge, inputs, "/", SCRIPT_DIR));
                script = format!("{SCRIPT_DIR}/{}", first.name);
            }
        } else {
            // More than the one word: the shell itself reads the texts.
            for heredoc in &run.heredocs {
                script.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
            }
        }
        Ok(CommandLine::Shell(script).with_shell(&state.shell()))
    }

    /// What the process sees; all steps together have a limit, as each holds its own.
    fn environment(&mut self, state: &StageState, scope: &Scope<'_>) -> Result<Vec<String>, Diagnostic> {
        let env = state.variables.to_env();
        self.env_bytes += env.iter().map(String::len).sum::<usize>();
        if self.env_bytes > MAX_ENVIRONMENTS {
            return Err(scope.error(format!(
                "the environments of all RUN instructions are larger than {} MiB together",
                MAX_ENVIRONMENTS >> 20
            )));
        }
        Ok(env)
    }

    fn apply_options(&self, exec: &mut ExecOp, state: &StageState, run: &Run) {
        let options = &self.plan.options;
        exec.network = match run.network.as_deref() {
            Some("none") => Network::None,
            Some("host") => Network::Host,
            _ => options.network.unwrap_or_default(),
        };
        if run.security.as_deref() == Some("insecure") {
            exec.security = Security::Insecure;
        }
        exec.devices = run
            .devices
            .iter()
            .map(|(name, required)| Device { name: name.clone(), required: *required })
            .collect();
        let hostname = options.build_args.get(HOSTNAME).filter(|name| !name.is_empty());
        exec.hostname = hostname.cloned().or_else(|| options.hostname.clone());
        exec.extra_hosts.clone_from(&options.extra_hosts);
        exec.shm_size = options.shm_size;
        exec.ulimits.clone_from(&options.ulimits);
        // A declared one is a variable like any other.
        let declared = |name: &String| state.build_args.iter().any(|(known, _)| known == name);
        for (name, value) in options.build_args.iter().filter(|(name, _)| is_proxy(name)) {
            let names = [name.to_ascii_uppercase(), name.to_ascii_lowercase()];
            let names = names.into_iter().filter(|name| !declared(name));
            exec.proxy_env.extend(names.map(|name| format!("{name}={value}")));
        }
        exec.proxy_env.sort();
        exec.proxy_env.dedup();
    }
}

/// Puts mounts where they belong.
trait Apply {
    fn apply(&mut self, mounts: Mounts);
}

impl Apply for ExecOp {
    fn apply(&mut self, mounts: Mounts) {
        self.mounts.extend(mounts.mounts);
        let is_set = |env: &[String]| env.iter().any(|entry| entry.starts_with("SSH_AUTH_SOCK="));
        if let Some(socket) = mounts.first_socket.filter(|_| !is_set(&self.env)) {
            self.env.push(format!("SSH_AUTH_SOCK={socket}"));
        }
    }
}

/// A read-only bind mount of an edge.
fn bind(edge: Edge, inputs: &mut Vec<Edge>, source: &str, target: &str) -> Mount {
    let input = Some(super::mounts::input_of(inputs, edge));
    Mount::Bind { input, source: source.to_owned(), target: target.to_owned(), readonly: true, output: None }
}

/// The first line, and dots where there are more.
fn summary(text: &str) -> String {
    let text = text.trim();
    match text.split_once('\n') {
        Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
        None => text.to_owned(),
    }
}

/// `RUN |2 A=1 B=2 /bin/sh -c … # buildkit`.
fn created_by(state: &StageState, args: &[String]) -> String {
    let mut declared: Vec<(&str, String)> = Vec::new();
    for (name, value) in &state.build_args {
        let now = state.variables.get(name).or(value.as_deref()).unwrap_or_default();
        let entry = (name.as_str(), format!("{name}={now}"));
        match declared.iter_mut().find(|(known, _)| known == name) {
            Some(known) => *known = entry,
            None => declared.push(entry),
        }
    }
    let mut words = vec!["RUN".to_owned()];
    if !declared.is_empty() {
        words.push(format!("|{}", declared.len()));
        words.extend(declared.into_iter().map(|(_, entry)| entry));
    }
    words.extend(args.iter().cloned());
    words.push("# buildkit".to_owned());
    words.join(" ")
}
