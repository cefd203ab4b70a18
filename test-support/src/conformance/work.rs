//! What all who build cases need: the options of a command line, and several builds at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Case;

/// Builds that run at the same time; they wait more than they work.
const WORKERS: usize = 4;

/// The case's options as `kiln build` and `docker build` take them.
pub fn options(case: &Case) -> Vec<String> {
    let mut options = vec!["--network".to_owned(), "none".to_owned()];
    let mut add = |option: &str, value: String| options.extend([option.to_owned(), value]);
    let mut pairs = |option: &str, map: &BTreeMap<String, String>| {
        map.iter().for_each(|(name, value)| add(option, format!("{name}={value}")));
    };
    pairs("--build-arg", &case.build_args);
    pairs("--label", &case.labels);
    case.target.iter().for_each(|target| add("--target", target.clone()));
    case.platform.iter().for_each(|platform| add("--platform", platform.clone()));
    options
}

/// `work` for each case by several threads; the results are in the order of the cases.
pub fn for_each<T: Send>(cases: &[&Case], work: impl Fn(&Case) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work_off = || {
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(case) = cases.get(at)
        {
            let result = work(case);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work_off))));
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_cases() {
        let cases: Vec<Case> = (0..50).map(|n| Case { name: n.to_string(), ..Case::default() }).collect();
        let names = for_each(&cases.iter().collect::<Vec<_>>(), |case| case.name.clone());
        assert_eq!(names, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn each_option_is_said() {
        let build_args = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let case = Case { build_args, target: Some("t".to_owned()), ..Case::default() };
        assert_eq!(options(&case), ["--network", "none", "--build-arg", "a=1", "--target", "t"]);
    }
}
