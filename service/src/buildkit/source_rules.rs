//! Source policies: rules of a client about what its build may take from where (`sourcepolicy.Policy`).

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy as wire;
use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{AttrMatch, MatchType, PolicyAction};
use bollard_buildkit_proto::pb;
use kiln_engine::build::SourcePolicy;
use kiln_engine::oci::Platform;
use kiln_engine::{Error, ErrorKind, Result};
use kiln_graph::SourceOp;
use regex::{Regex, RegexBuilder};

use super::llb::{Around, source};

/// The most rules of all policies of a build, and the most bytes of one pattern that was understood.
const MAX_RULES: usize = 4096;
const MAX_PATTERN: usize = 1 << 20;
/// How often a source may be replaced before that is taken for a circle.
const MAX_TURNS: usize = 20;

/// The policies of a build, in order.
#[derive(Debug, Default)]
pub(super) struct Policies(Vec<Vec<Rule>>);

#[derive(Debug)]
struct Rule {
    action: PolicyAction,
    identifier: String,
    /// None where nothing but the identifier itself is meant.
    pattern: Option<Regex>,
    constraints: Vec<Constraint>,
    update: Option<wire::Update>,
}

#[derive(Debug)]
struct Constraint {
    key: String,
    value: String,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Equal,
    NotEqual,
    Matches(Regex),
}

impl Policies {
    /// Understands what a client sent.
    pub(super) fn parse(policies: &[wire::Policy]) -> Result<Policies> {
        if policies.iter().map(|policy| policy.rules.len()).sum::<usize>() > MAX_RULES {
            return Err(wrong(format!("more than {MAX_RULES} rules")));
        }
        let rules = |policy: &wire::Policy| policy.rules.iter().map(Rule::parse).collect();
        Ok(Policies(policies.iter().map(rules).collect::<Result<_>>()?))
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    /// Applies them to a source until nothing changes; whether something did.
    pub(super) fn apply(&self, source: &mut pb::SourceOp) -> Result<bool> {
        let mut changed = false;
        for _ in 0..MAX_TURNS {
            let mut turned = false;
            for policy in &self.0 {
                turned = apply(policy, source)?;
                if turned {
                    break;
                }
            }
            if !turned {
                return Ok(changed);
            }
            changed = true;
        }
        Err(wrong("too many mutations on a single source"))
    }

    /// The image that is taken instead of `name`.
    pub(super) fn image(&self, name: &str) -> Result<String> {
        if self.is_empty() {
            return Ok(name.to_owned());
        }
        let reference: kiln_engine::oci::Reference = name.parse()?;
        let reference = reference.with_default_tag();
        let asked = SourceOp::Image { reference, platform: Platform::host() };
        match self.decide(&asked)?.unwrap_or(asked) {
            SourceOp::Image { reference, .. } => Ok(reference.to_string()),
            _ => Err(Error::not_implemented("something else than an image instead of an image")),
        }
    }
}

impl SourcePolicy for Policies {
    fn decide(&self, op: &SourceOp) -> Result<Option<SourceOp>> {
        if self.is_empty() {
            return Ok(None);
        }
        let (mut written, platform) = source::write(op);
        if !self.apply(&mut written)? {
            return Ok(None);
        }
        let around = Around { session: "", image: &|_, _| Ok(None), rules: self };
        let mut decided = source::read(&written, platform, &around)?;
        if let (SourceOp::Git { access: said, .. }, SourceOp::Git { access, .. }) = (op, &mut decided) {
            access.clone_from(said);
        }
        Ok(Some(decided))
    }
}

/// Applies one policy: its last rule that fits allows or denies, the first that changes something ends it.
fn apply(policy: &[Rule], source: &mut pb::SourceOp) -> Result<bool> {
    let mut denied = false;
    for rule in policy {
        if !rule.fits(source) {
            continue;
        }
        match rule.action {
            PolicyAction::Allow => denied = false,
            PolicyAction::Deny => denied = true,
            PolicyAction::Convert => {
                if rule.convert(source)? {
                    return Ok(true);
                }
            }
        }
    }
    match denied {
        true => Err(Error::new(
            ErrorKind::Forbidden,
            format!("source {:?} denied by policy: source denied by policy", source.identifier),
        )),
        false => Ok(false),
    }
}

impl Rule {
    fn parse(rule: &wire::Rule) -> Result<Rule> {
        let action = PolicyAction::try_from(rule.action);
        let action = action.map_err(|_| wrong(format!("the action {} is not known", rule.action)))?;
        let selector = rule.selector.clone().ok_or_else(|| wrong("a rule that selects nothing"))?;
        let kind = MatchType::try_from(selector.match_type);
        let kind = kind.map_err(|_| wrong(format!("the match type {} is not known", selector.match_type)))?;
        let identifier = selector.identifier;
        let pattern = match kind {
            MatchType::Exact => None,
            MatchType::Regex => Some(regex(&identifier)?),
            MatchType::Wildcard if identifier.contains("**") => {
                return Err(wrong(format!("`{identifier}`: `**` is no wildcard")));
            }
            MatchType::Wildcard => {
                Some(regex(&format!("^{}$", regex::escape(&identifier).replace(r"\*", "(.*)")))?)
            }
        };
        let constraints = selector.constraints.into_iter().map(Constraint::parse).collect::<Result<_>>()?;
        if action == PolicyAction::Convert && rule.updates.is_none() {
            return Err(wrong("missing destination for convert rule"));
        }
        Ok(Rule { action, identifier, pattern, constraints, update: rule.updates.clone() })
    }

    fn fits(&self, source: &pb::SourceOp) -> bool {
        let holds = |constraint: &Constraint| {
            let value = source.attrs.get(&constraint.key).map(String::as_str).unwrap_or_default();
            match &constraint.condition {
                Condition::Equal => value == constraint.value,
                Condition::NotEqual => value != constraint.value,
                Condition::Matches(regex) => regex.is_match(value),
            }
        };
        let named = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&source.identifier));
        self.constraints.iter().all(holds) && (source.identifier == self.identifier || named())
    }

    /// Replaces what the rule says; whether that was anything.
    fn convert(&self, source: &mut pb::SourceOp) -> Result<bool> {
        let Some(update) = &self.update else { return Ok(false) };
        let wanted = if update.identifier.is_empty() { &self.identifier } else { &update.identifier };
        let captures = self.pattern.as_ref().and_then(|pattern| pattern.captures(&source.identifier));
        let mut identifier = String::new();
        match captures {
            Some(captures) => captures.expand(wanted, &mut identifier),
            None => identifier.clone_from(wanted),
        }
        let mut changed = !identifier.is_empty() && source.identifier != identifier;
        if changed {
            source.identifier = identifier;
        }
        for (key, value) in &update.attrs {
            changed |= source.attrs.insert(key.clone(), value.clone()).as_ref() != Some(value);
        }
        Ok(changed)
    }
}

impl Constraint {
    fn parse(constraint: wire::AttrConstraint) -> Result<Constraint> {
        let wire::AttrConstraint { key, value, condition } = constraint;
        let condition = match AttrMatch::try_from(condition) {
            Ok(AttrMatch::Equal) => Condition::Equal,
            Ok(AttrMatch::Notequal) => Condition::NotEqual,
            Ok(AttrMatch::Matches) => Condition::Matches(regex(&value)?),
            Err(_) => return Err(wrong(format!("the condition {condition} is not known"))),
        };
        Ok(Constraint { key, value, condition })
    }
}

fn regex(text: &str) -> Result<Regex> {
    let built = RegexBuilder::new(text).size_limit(MAX_PATTERN).build();
    built.map_err(|error| wrong(format!("`{}`: {error}", text.escape_debug())))
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the source policy: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: PolicyAction, kind: MatchType, identifier: &str, to: &str) -> wire::Rule {
        let selector = wire::Selector {
            identifier: identifier.to_owned(),
            match_type: kind.into(),
            constraints: Vec::new(),
        };
        let updates = wire::Update { identifier: to.to_owned(), ..wire::Update::default() };
        wire::Rule { action: action.into(), selector: Some(selector), updates: Some(updates) }
    }

    /// What becomes of a source under rules.
    fn under(rules: Vec<wire::Rule>, identifier: &str) -> Result<String> {
        let policies = Policies::parse(&[wire::Policy { version: 1, rules }])?;
        let mut source = pb::SourceOp { identifier: identifier.to_owned(), ..pb::SourceOp::default() };
        policies.apply(&mut source)?;
        Ok(source.identifier)
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        use MatchType::{Exact, Regex, Wildcard};
        use PolicyAction::{Allow, Deny};
        let all = || rule(Deny, Wildcard, "*", "");
        let denied = |rules: Vec<wire::Rule>, name: &str| {
            under(rules, name).is_err_and(|error| error.kind == ErrorKind::Forbidden)
        };
        assert!(denied(vec![all()], "docker-image://a"));
        assert!(!denied(vec![all(), rule(Allow, Exact, "docker-image://a", "")], "docker-image://a"));
        assert!(denied(vec![rule(Allow, Exact, "docker-image://a", ""), all()], "docker-image://a"));
        assert!(denied(vec![rule(Deny, Wildcard, "docker-image://*/b:1", "")], "docker-image://r.io/a/b:1"));
        assert!(!denied(vec![rule(Deny, Wildcard, "docker-image://*.1", "")], "docker-image://a:1"));
        assert!(!denied(vec![rule(Deny, Exact, "docker-image://*", "")], "docker-image://a"));
        assert!(denied(vec![rule(Deny, Regex, "^git://.*", "")], "git://h/r"));
        assert!(!denied(vec![rule(Deny, Regex, "^git://.*", "")], "https://h/git://"));
    }

    #[test]
    fn sources_are_replaced_with_what_the_pattern_found() {
        use MatchType::{Exact, Regex, Wildcard};
        use PolicyAction::{Convert, Deny};
        let wild = rule(Convert, Wildcard, "docker-image://docker.io/*:*", "docker-image://mirror/$1:$2");
        assert_eq!(
            under(vec![wild], "docker-image://docker.io/library/a:1").unwrap(),
            "docker-image://mirror/library/a:1"
        );
        let regex = rule(Convert, Regex, "^https://(?:www\\.)?(.+)$", "https://cache/${1}.x");
        assert!(under(vec![regex], "https://www.a/b").is_err(), "it fits what it makes");
        let then = vec![rule(Convert, Exact, "a://1", "a://2"), rule(Deny, Exact, "a://2", "")];
        assert_eq!(under(then, "a://1").unwrap_err().kind, ErrorKind::Forbidden);
        let circle = vec![rule(Convert, Exact, "a://1", "a://2"), rule(Convert, Exact, "a://2", "a://1")];
        assert!(under(circle, "a://1").unwrap_err().message.contains("too many mutations"));
    }

    #[test]
    fn attributes_are_conditions_and_are_set() {
        let constraint = |condition: AttrMatch, value: &str| wire::AttrConstraint {
            key: "k".to_owned(),
            value: value.to_owned(),
            condition: condition.into(),
        };
        let mut convert = rule(PolicyAction::Convert, MatchType::Wildcard, "https://*", "");
        convert.selector.as_mut().unwrap().constraints =
            vec![constraint(AttrMatch::Matches, "^v[0-9]$"), constraint(AttrMatch::Notequal, "v3")];
        let update = convert.updates.as_mut().unwrap();
        (update.identifier, update.attrs) =
            ("https://$1".to_owned(), [("new".to_owned(), "x".to_owned())].into());
        let policies = Policies::parse(&[wire::Policy { version: 1, rules: vec![convert] }]).unwrap();
        let with = |value: &str| {
            let attrs = [("k".to_owned(), value.to_owned())].into();
            let mut source = pb::SourceOp { identifier: "https://h".to_owned(), attrs };
            policies.apply(&mut source).unwrap();
            source.attrs.contains_key("new")
        };
        assert_eq!((with("v1"), with("v3"), with("w")), (true, false, false));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let mut bare = rule(PolicyAction::Convert, MatchType::Exact, "a", "b");
        bare.updates = None;
        let strange = |change: &dyn Fn(&mut wire::Rule)| {
            let mut rule = rule(PolicyAction::Deny, MatchType::Exact, "a", "");
            change(&mut rule);
            rule
        };
        let cases = [
            bare,
            rule(PolicyAction::Deny, MatchType::Wildcard, "a**", ""),
            rule(PolicyAction::Deny, MatchType::Regex, "(", ""),
            rule(PolicyAction::Deny, MatchType::Regex, &"(a{100}){100}".repeat(20), ""),
            strange(&|rule| rule.action = 9),
            strange(&|rule| rule.selector = None),
            strange(&|rule| rule.selector.as_mut().unwrap().match_type = -1),
        ];
        for case in cases {
            assert!(under(vec![case.clone()], "x").is_err(), "{case:?}");
        }
    }
}
