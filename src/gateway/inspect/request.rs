//! Reads a service call's body (CDS Hooks 2.0, HTTP Request) without building a tree of it.

use uuid::Uuid;

use crate::gateway::inspect::bases::{Reason, check_page, check_server};
use crate::gateway::inspect::policy::{Mode, Policy};
use crate::json::members::{BadMember, Seen};
use crate::json::scan::{Kind, Scanner};
use crate::json::token::JsonError;
use crate::names::HookInstance;

/// The longest `hook` that is taken: it becomes a log field.
const MAX_HOOK: usize = 256;

/// Where an address stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `fhirServer`
    FhirServer,
    /// `link[].url` of a Bundle in the prefetch, or of a Bundle inside one.
    BundleLink,
}

/// An address that does not lie under the client's FHIR bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// Where it stood.
    pub place: Place,
    /// What is wrong with it.
    pub reason: Reason,
}

impl Finding {
    /// A stable word for log and audit: `fhir-server` or `bundle-link`. The reason has its own.
    pub const fn code(self) -> &'static str {
        match self.place {
            Place::FhirServer => "fhir-server",
            Place::BundleLink => "bundle-link",
        }
    }
}

/// Why a request is not passed on. Says which member, never what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// Not the JSON that may pass.
    #[error("the body is {0}")]
    Json(#[from] JsonError),
    /// A member that the service could understand differently.
    #[error(transparent)]
    Member(#[from] BadMember),
    /// The body is a JSON text, but no object.
    #[error("the body is not an object")]
    NotAnObject,
    /// A required member is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A member is not of the JSON type that the standard gives it.
    #[error("{0} has the wrong JSON type")]
    WrongType(&'static str),
    /// `hook` is empty, longer than 256 bytes, or holds what neither a name nor a URL can hold.
    #[error("hook is neither a name nor a URL")]
    Hook,
    /// `hookInstance` is not a UUID in the form of RFC 9562 section 4.
    #[error("hookInstance is not a UUID")]
    HookInstance,
    /// An address lies outside the client's registered FHIR bases.
    #[error("{place} is refused: {reason}", place = .0.code(), reason = .0.reason.code())]
    Forbidden(Finding),
}

/// What a well-formed request, that its client may send, says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    hook: String,
    hook_instance: HookInstance,
    fhir_server: Option<String>,
    fhir_authorization: bool,
    patient_id: Option<String>,
    observed: Vec<Finding>,
}

impl Inspected {
    /// `hook`: a hook's name, or, in drafts, its URL. Printable ASCII without blanks and quotes.
    pub fn hook(&self) -> &str {
        &self.hook
    }

    /// `hookInstance`
    pub const fn hook_instance(&self) -> HookInstance {
        self.hook_instance
    }

    /// `fhirServer`; absent also where it is null.
    pub fn fhir_server(&self) -> Option<&str> {
        self.fhir_server.as_deref()
    }

    /// Whether the request carries a bearer token for the FHIR server.
    pub const fn has_fhir_authorization(&self) -> bool {
        self.fhir_authorization
    }

    /// `context.patientId`: a patient datum, not for any log.
    pub fn patient_id(&self) -> Option<&str> {
        self.patient_id.as_deref()
    }

    /// What [`Mode::Enforce`] would have refused, each kind once. Empty in the other modes.
    pub fn observed(&self) -> &[Finding] {
        &self.observed
    }
}

/// Reads `body` in one pass.
///
/// `hook` and `hookInstance` are required; `hookInstance` may be in upper case, and may bear the
/// `urn:uuid:` prefix that FHIR gives its type. A null member counts as absent. Bundles are looked for
/// in `prefetch` values, in their entries' resources, and so on inwards (batch responses).
///
/// # Errors
/// [`InspectError`]
pub fn inspect(body: &[u8], policy: &Policy) -> Result<Inspected, InspectError> {
    let mut scan = Scanner::new(body)?;
    if scan.kind()? != Kind::Object {
        return Err(InspectError::NotAnObject);
    }
    let mut request = Request::new(policy);
    let mut seen = Seen::new(&MEMBERS);
    scan.object(|scan, member| match seen.meet(&member.name)? {
        Some(name) => request.member(scan, name),
        None => Ok(()),
    })?;
    scan.finish()?;
    request.accept()
}

const MEMBERS: [&str; 6] =
    ["hook", "hookInstance", "fhirServer", "fhirAuthorization", "context", "prefetch"];

/// What has been read so far.
struct Request<'p> {
    policy: &'p Policy,
    hook: Option<String>,
    hook_instance: Option<HookInstance>,
    fhir_server: Option<String>,
    fhir_authorization: bool,
    patient_id: Option<String>,
    findings: Vec<Finding>,
}

impl<'p> Request<'p> {
    const fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            hook: None,
            hook_instance: None,
            fhir_server: None,
            fhir_authorization: false,
            patient_id: None,
            findings: Vec::new(),
        }
    }

    fn member(&mut self, scan: &mut Scanner<'_>, name: &'static str) -> Result<(), InspectError> {
        match name {
            "hook" => self.hook = text(scan, name)?,
            "hookInstance" => {
                let instance = text(scan, name)?;
                self.hook_instance = instance.as_deref().map(hook_instance).transpose()?;
            }
            "fhirServer" => {
                self.fhir_server = text(scan, name)?;
                if let Some(address) = &self.fhir_server {
                    let checked = match self.policy.mode() {
                        Mode::Enforce | Mode::Observe => check_server(self.policy.bases(), address),
                        Mode::Off => Ok(()),
                    };
                    self.found(Place::FhirServer, checked);
                }
            }
            "fhirAuthorization" => match scan.kind()? {
                Kind::Object => self.fhir_authorization = true,
                Kind::Null => {}
                Kind::Array | Kind::String | Kind::Number | Kind::Bool => {
                    return Err(InspectError::WrongType(name));
                }
            },
            "context" => self.context(scan)?,
            "prefetch" => match self.policy.mode() {
                Mode::Enforce | Mode::Observe => self.prefetch(scan)?,
                Mode::Off => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// In drafts `context` is also an array, which says nothing that is read here.
    fn context(&mut self, scan: &mut Scanner<'_>) -> Result<(), InspectError> {
        if scan.kind()? != Kind::Object {
            return Ok(());
        }
        let mut seen = Seen::new(&["patientId"]);
        scan.object(|scan, member| {
            if let Some(name) = seen.meet(&member.name)? {
                self.patient_id = text(scan, name)?;
            }
            Ok::<(), InspectError>(())
        })?;
        Ok(())
    }

    fn prefetch(&mut self, scan: &mut Scanner<'_>) -> Result<(), InspectError> {
        if scan.kind()? != Kind::Object {
            return Ok(());
        }
        scan.object(|scan, _| self.resource(scan))?;
        Ok(())
    }

    /// Looks for links in a resource, a Bundle's entry, or the `{response, resource}` of the drafts.
    /// Whether it says to be a Bundle is not asked: no other resource has links with a URL.
    fn resource(&mut self, scan: &mut Scanner<'_>) -> Result<(), InspectError> {
        if scan.kind()? != Kind::Object {
            return Ok(());
        }
        scan.object(|scan, member| {
            if member.name.eq_ignore_ascii_case("link") {
                each(scan, |scan| self.link(scan))
            } else if member.name.eq_ignore_ascii_case("entry") {
                each(scan, |scan| self.resource(scan))
            } else if member.name.eq_ignore_ascii_case("resource") {
                self.resource(scan)
            } else {
                Ok(())
            }
        })?;
        Ok(())
    }

    fn link(&mut self, scan: &mut Scanner<'_>) -> Result<(), InspectError> {
        if scan.kind()? != Kind::Object {
            return Ok(());
        }
        scan.object(|scan, member| {
            if member.name.eq_ignore_ascii_case("url") && scan.kind()? == Kind::String {
                let address = scan.string()?.decoded;
                self.found(Place::BundleLink, check_page(self.policy.bases(), &address));
            }
            Ok::<(), InspectError>(())
        })?;
        Ok(())
    }

    fn found(&mut self, place: Place, checked: Result<(), Reason>) {
        if let Err(reason) = checked {
            let finding = Finding { place, reason };
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }

    fn accept(self) -> Result<Inspected, InspectError> {
        let hook = self.hook.ok_or(InspectError::Missing("hook"))?;
        if !is_hook(&hook) {
            return Err(InspectError::Hook);
        }
        let hook_instance = self.hook_instance.ok_or(InspectError::Missing("hookInstance"))?;
        if let (Mode::Enforce, Some(finding)) = (self.policy.mode(), self.findings.first()) {
            return Err(InspectError::Forbidden(*finding));
        }
        Ok(Inspected {
            hook,
            hook_instance,
            fhir_server: self.fhir_server,
            fhir_authorization: self.fhir_authorization,
            patient_id: self.patient_id,
            observed: self.findings,
        })
    }
}

/// A string member's meaning; `None` for null.
fn text(scan: &mut Scanner<'_>, name: &'static str) -> Result<Option<String>, InspectError> {
    match scan.kind()? {
        Kind::String => Ok(Some(scan.string()?.decoded.into_owned())),
        Kind::Null => Ok(None),
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool => {
            Err(InspectError::WrongType(name))
        }
    }
}

/// Visits an array's elements, or the value itself where it is not the array that it should be.
fn each(
    scan: &mut Scanner<'_>,
    mut visit: impl FnMut(&mut Scanner<'_>) -> Result<(), InspectError>,
) -> Result<(), InspectError> {
    if scan.kind()? == Kind::Array {
        scan.array(|scan, _| visit(scan))?;
        return Ok(());
    }
    visit(scan)
}

/// A name, or what RFC 3986 section 2 lets stand in a URL.
fn is_hook(hook: &str) -> bool {
    (1..=MAX_HOOK).contains(&hook.len())
        && hook
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b))
}

/// Only the form with hyphens: another one would be written differently by those who compare texts.
fn hook_instance(text: &str) -> Result<HookInstance, InspectError> {
    let plain = text.strip_prefix("urn:uuid:").unwrap_or(text);
    if plain.len() != uuid::fmt::Hyphenated::LENGTH {
        return Err(InspectError::HookInstance);
    }
    Uuid::try_parse(plain).map(HookInstance).map_err(|_| InspectError::HookInstance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::inspect::bases::FhirBase;
    use crate::gateway::inspect::policy::Settings;

    const HEAD: &str =
        r#""hook":"patient-view","hookInstance":"9DC2D645-66ea-41ae-a931-660c96b23cca""#;

    fn policy(mode: Mode) -> Policy {
        Policy::new(Settings {
            fhir_servers: vec![FhirBase::new("https://ehr.example/fhir").unwrap()],
            fhir_server_check: Some(mode),
        })
        .unwrap()
    }

    fn read(members: &str, mode: Mode) -> Result<Inspected, InspectError> {
        inspect(format!("{{{members}}}").as_bytes(), &policy(mode))
    }

    #[test]
    fn reads_what_a_request_says() {
        let all = format!(
            r#"{HEAD},"fhirServer":"https:\/\/ehr.example/fhir","fhirAuthorization":{{}},
               "context":{{"userId":"x","patientId":"p\u0031"}},"extension":1,"extension":2"#
        );
        let read_all = read(&all, Mode::Enforce).unwrap();
        assert_eq!(read_all.hook(), "patient-view");
        assert_eq!(read_all.hook_instance().to_string(), "9dc2d645-66ea-41ae-a931-660c96b23cca");
        assert_eq!(read_all.fhir_server(), Some("https://ehr.example/fhir"));
        assert!(read_all.has_fhir_authorization());
        assert_eq!(read_all.patient_id(), Some("p1"));
        assert!(read_all.observed().is_empty());

        let least = read(
            r#""hookInstance":"urn:uuid:9dc2d645-66ea-41ae-a931-660c96b23cca","context":[],
               "hook":"https://cds.example/hooks/x?y=%20#z","fhirServer":null,"fhirAuthorization":null"#,
            Mode::Enforce,
        )
        .unwrap();
        assert_eq!(least.fhir_server(), None);
        assert!(!least.has_fhir_authorization());
        assert_eq!(least.patient_id(), None);
    }

    #[test]
    fn refuses_what_is_not_a_request() {
        let long = format!(r#""hookInstance":"x","hook":"{}""#, "a".repeat(257));
        for (members, error) in [
            ("", InspectError::Missing("hook")),
            (r#""hook":"a""#, InspectError::Missing("hookInstance")),
            (r#""hook":null"#, InspectError::Missing("hook")),
            (r#""hook":1"#, InspectError::WrongType("hook")),
            (r#""hookInstance":["x"]"#, InspectError::WrongType("hookInstance")),
            (r#""fhirServer":{}"#, InspectError::WrongType("fhirServer")),
            (r#""fhirAuthorization":"x""#, InspectError::WrongType("fhirAuthorization")),
            (r#""context":{"patientId":7}"#, InspectError::WrongType("patientId")),
            (r#""hookInstance":"""#, InspectError::HookInstance),
            (r#""hookInstance":"9dc2d64566ea41aea931660c96b23cca""#, InspectError::HookInstance),
            (
                r#""hookInstance":"{9dc2d645-66ea-41ae-a931-660c96b23cca}""#,
                InspectError::HookInstance,
            ),
            (
                r#""hookInstance":"9dc2d645-66ea-41ae-a931-660c96b23cc\u00e4""#,
                InspectError::HookInstance,
            ),
            (&long, InspectError::HookInstance),
            (r#""hook":"a","ho\u006fk":"b""#, BadMember::Duplicate("hook").into()),
            (r#""fhirServer":null,"fhirServer":"x""#, BadMember::Duplicate("fhirServer").into()),
            (r#""FhirServer":"https://evil.test""#, BadMember::Case("fhirServer").into()),
            (r#""prefetch":{},"prefetch":{}"#, BadMember::Duplicate("prefetch").into()),
            (
                r#""context":{"patientId":"a","patientId":"b"}"#,
                BadMember::Duplicate("patientId").into(),
            ),
        ] {
            assert_eq!(read(members, Mode::Enforce), Err(error), "{members}");
        }
        for hook in ["", "a b", "a\"b", "ä", "a\\u0000", "<a>", &"a".repeat(257)] {
            let members = HEAD.replace("patient-view", &hook.replace('"', "\\\""));
            assert_eq!(read(&members, Mode::Off), Err(InspectError::Hook), "{hook}");
        }
        for body in ["[]", "null", "\"hook\"", "7"] {
            assert_eq!(
                inspect(body.as_bytes(), &policy(Mode::Off)),
                Err(InspectError::NotAnObject)
            );
        }
    }

    #[test]
    fn finds_addresses_wherever_a_bundle_may_stand() {
        let link = r#"{"link":[{"relation":"next","url":"https://evil.test/?page=2"}]}"#;
        let unregistered = |place| Finding { place, reason: Reason::Unregistered };
        for (members, place) in [
            (r#""fhirServer":"https://evil.test/fhir""#.to_owned(), Place::FhirServer),
            (format!(r#""prefetch":{{"a":null,"b":{link}}}"#), Place::BundleLink),
            (format!(r#""prefetch":{{"b":{{"entry":[{link}]}}}}"#), Place::BundleLink),
            (
                format!(r#""prefetch":{{"b":{{"entry":[1,{{"resource":{link}}}]}}}}"#),
                Place::BundleLink,
            ),
            (format!(r#""prefetch":{{"b":{{"resource":{link}}}}}"#), Place::BundleLink),
            (
                format!(r#""prefetch":{{"b":{}}}"#, link.replace("url", "u\\u0072L")),
                Place::BundleLink,
            ),
            (format!(r#""prefetch":{{"b":{}}}"#, link.replace(['[', ']'], "")), Place::BundleLink),
        ] {
            let members = format!("{HEAD},{members}");
            let found = unregistered(place);
            assert_eq!(
                read(&members, Mode::Enforce),
                Err(InspectError::Forbidden(found)),
                "{members}"
            );
            assert_eq!(read(&members, Mode::Observe).unwrap().observed(), [found], "{members}");
            assert!(read(&members, Mode::Off).unwrap().observed().is_empty(), "{members}");
        }
        for innocent in [
            r#"{"link":[{"url":"Patient?page=2"},{"url":"https://ehr.example/fhir?page=2"}]}"#,
            r#"{"link":[{"other":{"reference":"Patient/1"},"type":"seealso"}]}"#,
            r#"{"extension":[{"url":"http://hl7.org/fhir/x"}],"link":[{"url":null}],"entry":7}"#,
            r#"{"entry":[{"fullUrl":"https://else.example/1","request":{"url":"https://x"}}]}"#,
        ] {
            let members = format!(r#"{HEAD},"prefetch":{{"b":{innocent}}}"#);
            assert!(read(&members, Mode::Enforce).is_ok(), "{innocent}");
        }
    }

    #[test]
    fn malformed_comes_before_forbidden() {
        let members = format!(r#"{HEAD},"fhirServer":"https://evil.test/","context":{{"x":01}}"#);
        assert!(matches!(read(&members, Mode::Enforce), Err(InspectError::Json(_))));
    }
}
