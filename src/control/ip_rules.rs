//! `…/ip-restrictions/` and `…/ip-restrictions-set/`: from where an account's tokens may be used.
//!
//! A change is judged from the caller's own address, by what would be in force after it, in the
//! transaction that makes it.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::Call;
use super::error::ApiError;
use super::operation::Operation;
use super::query::Parameter;
use super::tokens::agree;
use super::words::{ACTIVE, CidrText, ID_LIMIT};
use crate::core::ip::{IpRules, parse_cidr};
use crate::core::permissions::Level;
use crate::core::record::{AccountId, Action};
use crate::store::{AccountView, Command, IpRuleContents, IpRuleView, check_optional_name};
use crate::time::format_time;

const LIST: &str = "/api/v3/accounts/{account_id}/ip-restrictions/";
const ONE: &str = "/api/v3/accounts/{account_id}/ip-restrictions/{id}";
const SET: &str = "/api/v3/accounts/{account_id}/ip-restrictions-set/";
const VALIDATE: &str = "/api/v3/accounts/{account_id}/ip-restrictions-set/{id}/validate/";
const VALIDATE_RULE: &str =
    "/api/v3/accounts/{account_id}/ip-restrictions-set/{id}/validate/{rule_id}";

/// `type` of the published record.
const ALLOW: u8 = 1;
const DENY: u8 = 2;
/// Most CIDRs of one rule.
const CIDRS_LIMIT: usize = 1000;

pub(super) fn operations() -> Vec<Operation> {
    let reading = |path, summary, handler| {
        Operation::new("GET", path, summary, handler).needs("IP restrictions", Level::Read)
    };
    let writing = |method, path, summary, handler| {
        Operation::new(method, path, summary, handler)
            .needs("IP restrictions", Level::Write)
            .query(&[Parameter::Force])
    };
    let related = &[Parameter::IncludeRelated];
    vec![
        reading(LIST, "List IP restriction rules", list).lists::<Rule>(),
        writing("POST", LIST, "Create an IP restriction rule", create)
            .takes::<RuleRequest>()
            .answers::<Rule>(201),
        reading(ONE, "Read an IP restriction rule", read).query(related).answers::<Rule>(200),
        writing("PUT", ONE, "Change an IP restriction rule", change)
            .takes::<RuleRequest>()
            .answers::<Rule>(200),
        writing("DELETE", ONE, "Delete an IP restriction rule", delete),
        reading(SET, "Read the IP restriction rule set", read_set)
            .query(related)
            .answers::<RuleSet>(200),
        writing("POST", SET, "Enable or disable the IP restriction rule set", enable)
            .takes::<RuleSetRequest>()
            .answers::<RuleSet>(200),
        reading(VALIDATE, "Validate the IP restriction rule set", validate)
            .query(related)
            .answers::<Validation>(200),
        reading(VALIDATE_RULE, "Validate an IP restriction rule", validate_rule)
            .query(related)
            .answers::<Validation>(200),
    ]
}

/// A rule: addresses that are let in or kept out.
#[derive(Serialize, JsonSchema)]
struct Rule {
    id: u64,
    name: String,
    /// 1: allow; 2: deny.
    r#type: u8,
    /// 1: it is there.
    state: u8,
    ip_restriction_rule_set_id: u64,
    rule_set_enabled: bool,
    account_id: AccountId,
    cidrs: Vec<Cidr>,
    /// Who made a rule is in the audit log.
    created_by_id: Option<u64>,
    /// See `created_by_id`.
    created_by_service_token_id: Option<u64>,
    /// Rules hold for every token alike.
    enabled_for_service_tokens: bool,
    description: String,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
}

/// A prefix of a rule.
#[derive(Serialize, JsonSchema)]
struct Cidr {
    id: u64,
    state: u8,
    ip_restriction_rule_id: u64,
    enabled: bool,
    /// The canonical prefix.
    cidr: String,
    /// The same, where it is one of IPv6.
    cidr_ipv6: Option<String>,
}

/// What a rule shall be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RuleRequest {
    #[schemars(length(max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    name: String,
    /// 1: allow; 2: deny.
    #[schemars(range(min = 1, max = 2))]
    r#type: u8,
    #[schemars(length(min = 1, max = 1000))]
    cidrs: Vec<CidrRequest>,
    /// Whether the account's rules, all of them, shall be in force; without, as they are.
    rule_set_enabled: Option<bool>,
    #[schemars(length(max = 200), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    description: Option<String>,
    /// Of the published record: empty, or the account of the path.
    #[schemars(range(max = ID_LIMIT))]
    account_id: Option<u64>,
    /// Of the published record: empty, or the rule of the path.
    #[schemars(range(max = ID_LIMIT))]
    id: Option<u64>,
    /// Of the published record: empty, or the account's.
    #[schemars(range(max = ID_LIMIT))]
    ip_restriction_rule_set_id: Option<u64>,
    /// Of the published record: empty, or 1.
    #[schemars(range(max = 1))]
    state: Option<u8>,
}

/// A prefix that a rule shall have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CidrRequest {
    /// An address or CIDR; host bits are masked.
    cidr: CidrText,
    /// Of the published record; prefixes are numbered here.
    #[serde(rename = "id")]
    _id: Option<u64>,
    /// Of the published record: empty, or 1.
    #[schemars(range(max = 1))]
    state: Option<u8>,
}

/// Whether an account's rules are in force.
#[derive(Serialize, JsonSchema)]
struct RuleSet {
    /// The account's.
    id: u64,
    account_id: AccountId,
    /// 1: it is there.
    state: u8,
    enabled: bool,
    /// Rules hold for every token alike.
    enabled_for_service_tokens: bool,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    #[schemars(extend("format" = "date-time"))]
    updated_at: String,
}

/// Whether an account's rules shall be in force.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RuleSetRequest {
    enabled: bool,
}

/// Whether the caller would be let in.
#[derive(Serialize, JsonSchema)]
struct Validation {
    is_valid_for_admin: bool,
}

impl Rule {
    /// A rule by its prefixes, which are not empty.
    fn of(account: &AccountView, prefixes: &[&IpRuleView]) -> Option<Self> {
        let first = prefixes.first()?;
        Some(Self {
            id: first.rule_id,
            name: first.name.clone(),
            r#type: if first.action == Action::Allow { ALLOW } else { DENY },
            state: ACTIVE,
            ip_restriction_rule_set_id: account.id,
            rule_set_enabled: account.ip_rules_enabled,
            account_id: account.id,
            cidrs: prefixes.iter().map(|view| Cidr::of(account, view)).collect(),
            created_by_id: None,
            created_by_service_token_id: None,
            enabled_for_service_tokens: account.ip_rules_enabled,
            description: first.description.clone(),
            created_at: format_time(prefixes.iter().map(|view| view.created_at).min()?),
            updated_at: format_time(prefixes.iter().map(|view| view.updated_at).max()?),
        })
    }
}

impl Cidr {
    fn of(account: &AccountView, view: &IpRuleView) -> Self {
        let is_ipv6 = matches!(view.cidr, IpNet::V6(_));
        Self {
            id: view.id,
            state: ACTIVE,
            ip_restriction_rule_id: view.rule_id,
            enabled: account.ip_rules_enabled,
            cidr: view.cidr.to_string(),
            cidr_ipv6: is_ipv6.then(|| view.cidr.to_string()),
        }
    }
}

impl RuleSet {
    fn of(account: &AccountView) -> Self {
        Self {
            id: account.id,
            account_id: account.id,
            state: ACTIVE,
            enabled: account.ip_rules_enabled,
            enabled_for_service_tokens: account.ip_rules_enabled,
            created_at: format_time(account.created_at),
            updated_at: format_time(account.ip_rules_changed_at),
        }
    }
}

impl RuleRequest {
    /// What the rule of this number, or a new one, shall be.
    fn contents(self, account: AccountId, rule: u64) -> Result<IpRuleContents, ApiError> {
        let not_zero = |given: Option<u64>| given.filter(|id| *id != 0);
        agree("account_id", not_zero(self.account_id), account)?;
        agree("id", not_zero(self.id), rule)?;
        agree("ip_restriction_rule_set_id", not_zero(self.ip_restriction_rule_set_id), account)?;
        agree("state", self.state.filter(|state| *state != 0), ACTIVE)?;
        let action = match self.r#type {
            ALLOW => Action::Allow,
            DENY => Action::Deny,
            _ => return Err(ApiError::field("type", "expected 1 (allow) or 2 (deny)")),
        };
        if !(1..=CIDRS_LIMIT).contains(&self.cidrs.len()) {
            return Err(ApiError::field("cidrs", format!("expected 1 to {CIDRS_LIMIT}")));
        }
        let mut cidrs = Vec::with_capacity(self.cidrs.len());
        for (position, given) in self.cidrs.iter().enumerate() {
            let name = |field: &str| format!("cidrs[{position}].{field}");
            agree(&name("state"), given.state.filter(|state| *state != 0), ACTIVE)?;
            let cidr = parse_cidr(&given.cidr.0);
            cidrs.push(cidr.map_err(|why| ApiError::field(&name("cidr"), why.to_string()))?);
        }
        let description = self.description.unwrap_or_default();
        check_optional_name("an IP rule", &self.name).map_err(ApiError::in_field("name"))?;
        check_optional_name("an IP rule's description", &description)
            .map_err(ApiError::in_field("description"))?;
        Ok(IpRuleContents { action, cidrs, name: self.name, description })
    }
}

fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let account = call.store.account(call.account()?)?;
    let views = call.store.ip_rules(account.id)?;
    let mut numbers: Vec<u64> = views.iter().map(|view| view.rule_id).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let shown = call.query.page.of(&numbers);
    let rules = shown.filter_map(|id| rule_of(&account, &views, *id)).collect();
    Answer::list(rules, numbers.len() as u64)
}

fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    let id = put(call, None)?;
    Answer::created(find(call, id)?)
}

fn read(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(find(call, call.id("id")?)?)
}

fn change(call: &Call<'_>) -> Result<Answer, ApiError> {
    let id = call.id("id")?;
    find(call, id)?;
    put(call, Some(id))?;
    Answer::one(find(call, id)?)
}

fn delete(call: &Call<'_>) -> Result<Answer, ApiError> {
    let (account_id, id) = (call.account()?, call.id("id")?);
    apply_admitted(call, Command::RemoveIpRuleById { account_id, id })?;
    Ok(Answer::nothing())
}

fn read_set(call: &Call<'_>) -> Result<Answer, ApiError> {
    Answer::one(RuleSet::of(&call.store.account(call.account()?)?))
}

fn enable(call: &Call<'_>) -> Result<Answer, ApiError> {
    let RuleSetRequest { enabled } = call.body()?;
    apply_admitted(call, Command::EnableIpRules { account_id: call.account()?, enabled })?;
    read_set(call)
}

/// The set as if it were enabled.
fn validate(call: &Call<'_>) -> Result<Answer, ApiError> {
    let views = views_of_set(call)?;
    answer_validation(call, &views)
}

/// One rule as if it were enabled, alone.
fn validate_rule(call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut views = views_of_set(call)?;
    let id = call.id("rule_id")?;
    views.retain(|view| view.rule_id == id);
    if views.is_empty() {
        return Err(unknown(call.account()?, id));
    }
    answer_validation(call, &views)
}

fn put(call: &Call<'_>, id: Option<u64>) -> Result<u64, ApiError> {
    let request: RuleRequest = call.body()?;
    let (account_id, enabled) = (call.account()?, request.rule_set_enabled);
    let rule = request.contents(account_id, id.unwrap_or(0))?;
    apply_admitted(call, Command::PutIpRule { account_id, id, rule, enabled })
}

/// Makes a change, unless it would keep the caller out; with `force`, also then.
fn apply_admitted(call: &Call<'_>, change: Command) -> Result<u64, ApiError> {
    if call.query.force {
        return call.apply(change);
    }
    let (account_id, address) = (call.account()?, call.client);
    call.apply(Command::IfAdmitted { account_id, address, change: Box::new(change) })
}

/// The rules of the set that the path names: an account has one, of its own number.
fn views_of_set(call: &Call<'_>) -> Result<Vec<IpRuleView>, ApiError> {
    let (account, set) = (call.account()?, call.id("id")?);
    if set != account {
        return Err(ApiError::NotFound(format!("account {account} has no IP rule set {set}")));
    }
    Ok(call.store.ip_rules(account)?)
}

fn answer_validation(call: &Call<'_>, views: &[IpRuleView]) -> Result<Answer, ApiError> {
    let rules: Vec<_> = views.iter().map(|view| (view.action, view.cidr)).collect();
    Answer::one(Validation { is_valid_for_admin: IpRules::compile(&rules).admits(call.client) })
}

fn find(call: &Call<'_>, id: u64) -> Result<Rule, ApiError> {
    let account = call.store.account(call.account()?)?;
    let views = call.store.ip_rules(account.id)?;
    rule_of(&account, &views, id).ok_or_else(|| unknown(account.id, id))
}

fn rule_of(account: &AccountView, views: &[IpRuleView], id: u64) -> Option<Rule> {
    let prefixes: Vec<&IpRuleView> = views.iter().filter(|view| view.rule_id == id).collect();
    Rule::of(account, &prefixes)
}

fn unknown(account: AccountId, id: u64) -> ApiError {
    ApiError::NotFound(format!("account {account} has no IP rule {id}"))
}
