//! The solver's promises, shown with steps that only pretend.

mod fakes;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fakes::{Graph, Recorder, Step, World, job, job_watched};
use kiln_builder::EventKind;
use kiln_graph::VertexId;
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(20);

/// `base` with two stages on it, joined by a third step.
fn diamond(world: &Arc<World>) -> Graph {
    let mut graph = Graph::new(world);
    let base = graph.source("base");
    let left = graph.step(Step::named("left"), &[base]);
    let right = graph.step(Step::named("right"), &[base]);
    graph.step(Step::named("join"), &[left, right]);
    graph
}

#[tokio::test]
async fn a_cold_build_runs_each_step_once() {
    let world = World::new();
    let value = world.solver().solve(job(diamond(&world))).await.unwrap();
    assert_eq!(world.text(&value[0]), "join(left(base),right(base))");
    assert_eq!(world.sorted_runs(), ["base", "join", "left", "right"]);
}

#[tokio::test]
async fn a_warm_build_asks_one_question_and_runs_nothing() {
    let world = World::new();
    let solver = world.solver();
    let cold = solver.solve(job(diamond(&world))).await.unwrap();
    world.forget_history();
    let warm = solver.solve(job(diamond(&world))).await.unwrap();
    assert_eq!(warm[0].digest(), cold[0].digest());
    assert_eq!(world.questions.load(Ordering::SeqCst), 1);
    assert_eq!(world.sorted_runs(), Vec::<String>::new());
}

#[tokio::test]
async fn steps_of_a_warm_build_are_told_as_cached() {
    let world = World::new();
    let solver = world.solver();
    solver.solve(job(diamond(&world))).await.unwrap();
    let recorder = Recorder::new();
    solver.solve(job_watched(diamond(&world), &recorder)).await.unwrap();
    for step in 0..4 {
        assert_eq!(recorder.last(step), Some(EventKind::Cached), "step {step}");
    }
}

#[tokio::test]
async fn several_roots_share_what_is_below_them() {
    let world = World::new();
    let mut graph = Graph::new(&world);
    let compile = graph.step(Step::named("compile"), &[]);
    let first = graph.step(Step::named("for amd64"), &[compile]);
    let second = graph.step(Step::named("for arm64"), &[compile]);
    let mut job = job(graph);
    job.roots = vec![second.output(), first.output(), second.output()];
    let values = world.solver().solve(job).await.unwrap();
    let texts: Vec<String> = values.iter().map(|value| world.text(value)).collect();
    assert_eq!(texts, ["for arm64(compile())", "for amd64(compile())", "for arm64(compile())"]);
    assert_eq!(world.sorted_runs(), ["compile", "for amd64", "for arm64"]);
}

#[tokio::test]
async fn a_step_that_reproduces_its_output_stops_the_rebuild() {
    let world = World::new();
    let solver = world.solver();
    let graph = |compiler: &str| {
        let mut graph = Graph::new(&world);
        let compile = graph.step(Step::named(compiler).making("the same program"), &[]);
        let copy = graph.step(Step::named("copy"), &[compile]);
        graph.step(Step::named("use"), &[copy]);
        graph
    };
    solver.solve(job(graph("cc -O1"))).await.unwrap();
    world.forget_history();
    solver.solve(job(graph("cc -O2"))).await.unwrap();
    assert_eq!(world.sorted_runs(), ["cc -O2"]);
}

#[tokio::test]
async fn what_no_step_reads_reruns_nothing() {
    let world = World::new();
    let solver = world.solver();
    let graph = |context: &str| {
        let mut graph = Graph::new(&world);
        let context = graph.step(Step::named(context).making(context), &[]);
        let copy = graph.step(Step::named("copy").reading("src"), &[context]);
        graph.step(Step::named("compile"), &[copy]);
        graph
    };
    solver.solve(job(graph("src=1 doc=1"))).await.unwrap();
    world.forget_history();
    solver.solve(job(graph("src=1 doc=2"))).await.unwrap();
    assert_eq!(world.sorted_runs(), ["src=1 doc=2"]);
    world.forget_history();
    solver.solve(job(graph("src=2 doc=2"))).await.unwrap();
    assert_eq!(world.sorted_runs(), ["compile", "copy", "src=2 doc=2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_builds_at_once_share_each_step() {
    let world = World::new();
    let solver = Arc::new(world.solver());
    world.hold("left");
    let start = |solver: &Arc<kiln_builder::solver::Solver>, graph| {
        let solver = solver.clone();
        tokio::spawn(async move { solver.solve(job(graph)).await })
    };
    let first = start(&solver, diamond(&world));
    let second = start(&solver, diamond(&world));
    world.started("left").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.release("left");
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first[0].digest(), second[0].digest());
    assert_eq!(world.sorted_runs().iter().filter(|run| *run != "base").count(), 3);
}

#[tokio::test]
async fn two_names_for_one_base_share_what_is_built_on_it() {
    let world = World::new();
    let solver = world.solver();
    let graph = |name: &str| {
        let mut graph = Graph::new(&world);
        let base = graph.source_of(name, "digest of the base");
        graph.step(Step::named("install"), &[base]);
        graph
    };
    solver.solve(job(graph("debian:12"))).await.unwrap();
    world.forget_history();
    solver.solve(job(graph("debian:bookworm"))).await.unwrap();
    assert_eq!(world.sorted_runs(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_names_its_step_and_is_not_remembered() {
    let world = World::new();
    let solver = world.solver();
    let graph = || {
        let mut graph = Graph::new(&world);
        let base = graph.source("base");
        let bad = graph.step(Step::named("RUN false").failing(), &[base]);
        graph.step(Step::named("after"), &[bad]);
        graph
    };
    let recorder = Recorder::new();
    let error = solver.solve(job_watched(graph(), &recorder)).await.unwrap_err();
    assert_eq!(error.step, "RUN false");
    assert!(error.to_string().contains("exit code: 1"), "{error}");
    assert_eq!(*error.failure.log, ["first words of RUN false", "last words of RUN false"]);
    assert!(matches!(recorder.last(1), Some(EventKind::Failed(_))));
    world.heal();
    solver.solve(job(graph())).await.unwrap();
    assert_eq!(world.sorted_runs().iter().filter(|run| *run == "RUN false").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_ends_its_siblings_and_is_the_one_told() {
    let world = World::new();
    world.hold("slow");
    world.hold("bad");
    let mut graph = Graph::new(&world);
    let slow = graph.step(Step::named("slow"), &[]);
    let bad = graph.step(Step::named("bad").failing(), &[]);
    graph.step(Step::named("join"), &[slow, bad]);
    let recorder = Recorder::new();
    let (solver, job) = (world.solver(), job_watched(graph, &recorder));
    let solving = tokio::spawn(async move { solver.solve(job).await });
    world.started("slow").await;
    world.release("bad");
    let error = tokio::time::timeout(LONG, solving).await.unwrap().unwrap();
    assert_eq!(error.unwrap_err().step, "bad");
    assert_eq!(world.cancelled(), ["slow"]);
    assert_eq!(recorder.last(0), Some(EventKind::Cancelled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_the_only_build_ends_its_step_before_it_returns() {
    let world = World::new();
    world.hold("left");
    let cancel = CancellationToken::new();
    let mut job = job(diamond(&world));
    job.cancel = cancel.clone();
    let solver = world.solver();
    let solving = tokio::spawn(async move { solver.solve(job).await });
    world.started("left").await;
    cancel.cancel();
    let error = tokio::time::timeout(LONG, solving).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(world.cancelled(), ["left"]);
    assert!(!world.sorted_runs().contains(&"join".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_step_belongs_to_those_who_wait_for_it() {
    let world = World::new();
    world.hold("left");
    let solver = Arc::new(world.solver());
    let cancel = CancellationToken::new();
    let mut first = job(diamond(&world));
    first.cancel = cancel.clone();
    let second_sees = Recorder::new();
    let second = job_watched(diamond(&world), &second_sees);
    let solving = |job| {
        let solver = solver.clone();
        tokio::spawn(async move { solver.solve(job).await })
    };
    let first = solving(first);
    world.started("left").await;
    let second = solving(second);
    second_sees.wait_for(1, |kind| matches!(kind, EventKind::Started)).await;
    assert!(second_sees.logs(1).contains("first words of left"), "what was missed is told");
    cancel.cancel();
    assert!(first.await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(world.cancelled(), Vec::<String>::new());
    world.release("left");
    let value = tokio::time::timeout(LONG, second).await.unwrap().unwrap().unwrap();
    assert_eq!(world.text(&value[0]), "join(left(base),right(base))");
    assert_eq!(world.sorted_runs().iter().filter(|run| *run == "left").count(), 1);
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_step() {
    let world = World::new();
    let mut graph = Graph::new(&world);
    graph.step(Step::named("broken").panicking(), &[]);
    let error = world.solver().solve(job(graph)).await.unwrap_err();
    assert_eq!(error.to_string(), "broken: internal error: a defect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn independent_steps_run_at_once_as_far_as_jobs_allow() {
    let wide = |world: &Arc<World>| {
        let mut graph = Graph::new(world);
        let steps: Vec<_> = (0..6).map(|n| graph.step(Step::named(&format!("s{n}")).slow(), &[])).collect();
        graph.step(Step::named("join"), &steps);
        graph
    };
    for (jobs, most) in [(1, 1), (3, 3)] {
        let world = World::new();
        let mut job = job(wide(&world));
        job.permits = Arc::new(tokio::sync::Semaphore::new(jobs));
        world.solver().solve(job).await.unwrap();
        assert_eq!(world.most_at_once.load(Ordering::SeqCst), most, "with {jobs} jobs");
    }
}

#[tokio::test]
async fn a_step_that_ignores_the_cache_takes_along_only_what_it_changes() {
    let world = World::new();
    let solver = world.solver();
    let graph = |fresh: bool| {
        let mut graph = Graph::new(&world);
        let base = graph.source("base");
        let step = if fresh { Step::named("date").ignoring_cache() } else { Step::named("date") };
        let date = graph.step(step, &[base]);
        graph.step(Step::named("after"), &[date]);
        graph
    };
    solver.solve(job(graph(false))).await.unwrap();
    world.forget_history();
    solver.solve(job(graph(true))).await.unwrap();
    // It made the same as before, so what is on it is as before.
    assert_eq!(world.sorted_runs(), ["base", "date"]);
}

#[tokio::test]
async fn no_cache_runs_everything_and_remembers_it() {
    let world = World::new();
    let solver = world.solver();
    solver.solve(job(diamond(&world))).await.unwrap();
    world.forget_history();
    let mut fresh = job(diamond(&world));
    fresh.no_cache = true;
    solver.solve(fresh).await.unwrap();
    assert_eq!(world.sorted_runs(), ["base", "join", "left", "right"]);
    world.forget_history();
    solver.solve(job(diamond(&world))).await.unwrap();
    assert_eq!(world.sorted_runs(), Vec::<String>::new());
}

#[tokio::test]
async fn a_result_that_is_gone_is_made_again() {
    let world = World::new();
    let solver = world.solver();
    solver.solve(job(diamond(&world))).await.unwrap();
    world.lose("join(left(base),right(base))");
    world.forget_history();
    solver.solve(job(diamond(&world))).await.unwrap();
    assert_eq!(world.sorted_runs(), ["join"]);
}

#[tokio::test]
async fn a_chain_of_five_thousand_steps_is_solved() {
    let world = World::new();
    let chain = || {
        let mut graph = Graph::new(&world);
        let mut top = graph.source("base");
        for number in 0..5_000 {
            top = graph.step(Step::named(&number.to_string()).making(&number.to_string()), &[top]);
        }
        graph
    };
    let solver = world.solver();
    solver.solve(job(chain())).await.unwrap();
    assert_eq!(world.sorted_runs().len(), 5_001);
    world.forget_history();
    solver.solve(job(chain())).await.unwrap();
    assert_eq!(world.questions.load(Ordering::SeqCst), 1);
}

/// As many ways lead from its top to its bottom as two to the power of five hundred.
#[tokio::test]
async fn a_diamond_of_a_thousand_vertices_is_solved_step_by_step() {
    let world = World::new();
    let graph = || {
        let mut graph = Graph::new(&world);
        let step = |name: String| Step::named(&name).making(&name);
        let mut below: Vec<VertexId> = Vec::new();
        for level in 0..500 {
            let pair = ["left", "right"].map(|side| step(format!("{side} {level}")));
            below = pair.into_iter().map(|step| graph.step(step, &below)).collect();
        }
        graph.step(step("top".to_owned()), &below);
        graph
    };
    let solver = world.solver();
    solver.solve(job(graph())).await.unwrap();
    assert_eq!(world.sorted_runs().len(), 1_001);
    world.lose("top");
    world.forget_history();
    solver.solve(job(graph())).await.unwrap();
    assert_eq!(world.sorted_runs(), ["top"]);
    // By definition the top, which is lost, and the two below it; then the top by content.
    assert_eq!(world.questions.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shared_failure_is_told_to_all_who_waited_and_to_nobody_after() {
    let world = World::new();
    world.hold("bad");
    let solver = Arc::new(world.solver());
    let graph = |last: &str| {
        let mut graph = Graph::new(&world);
        let bad = graph.step(Step::named("bad").failing(), &[]);
        graph.step(Step::named(last), &[bad]);
        graph
    };
    let seen = [Recorder::new(), Recorder::new()];
    let builds = seen.each_ref().map(|recorder| {
        let (solver, job) = (solver.clone(), job_watched(graph("after"), recorder));
        tokio::spawn(async move { solver.solve(job).await })
    });
    for recorder in &seen {
        recorder.wait_for(0, |kind| matches!(kind, EventKind::Started)).await;
    }
    world.release("bad");
    for build in builds {
        let error = tokio::time::timeout(LONG, build).await.unwrap().unwrap().unwrap_err();
        assert_eq!((error.step.as_str(), error.failure.log.len()), ("bad", 2));
    }
    assert_eq!(world.sorted_runs(), ["bad"]);
    world.heal();
    solver.solve(job(graph("after"))).await.unwrap();
    assert_eq!(world.sorted_runs(), ["after", "bad", "bad"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_builds_at_once_run_each_step_once() {
    let world = World::new();
    let solver = Arc::new(world.solver());
    let build = |number: usize| {
        let mut graph = Graph::new(&world);
        let compile = graph.step(Step::named("compile").slow(), &[]);
        graph.step(Step::named(&format!("link {}", number % 10)), &[compile]);
        let (solver, job) = (solver.clone(), job(graph));
        tokio::spawn(async move { solver.solve(job).await })
    };
    let builds: Vec<_> = (0..100).map(build).collect();
    for build in builds {
        tokio::time::timeout(LONG, build).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(world.sorted_runs().len(), 11, "{:?}", world.sorted_runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn builds_without_the_cache_share_nothing() {
    let world = World::new();
    world.hold("left");
    let solver = Arc::new(world.solver());
    let seen = [Recorder::new(), Recorder::new()];
    let builds = seen.each_ref().map(|recorder| {
        let mut job = job_watched(diamond(&world), recorder);
        job.no_cache = true;
        let solver = solver.clone();
        tokio::spawn(async move { solver.solve(job).await })
    });
    for recorder in &seen {
        recorder.wait_for(1, |kind| matches!(kind, EventKind::Started)).await;
    }
    world.release("left");
    for build in builds {
        tokio::time::timeout(LONG, build).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(world.sorted_runs().iter().filter(|run| *run == "left").count(), 2);
}
