//! Who a TLS client is: what its certificate names, and how an operator names a certificate.
//!
//! Nothing here says whether a certificate is to be believed. The doors have verified its chain before
//! anybody is asked whose it is.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::asn1_rs::ToDer;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A SHA-256 hash: what tools call a fingerprint.
pub type Fingerprint = [u8; 32];

/// What a client's certificate names.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    fingerprint: Fingerprint,
    key: Fingerprint,
    subject: String,
    dns: Vec<String>,
    uris: Vec<String>,
}

/// A certificate whose names cannot be read, or that has its alternative names twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate's names cannot be read")]
pub struct Unreadable;

impl ClientCertificate {
    /// Reads a certificate (RFC 5280).
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        let names = certificate.subject_alternative_name().map_err(|_| Unreadable)?;
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| names.value.general_names.iter()) {
            if let GeneralName::DNSName(name) = name {
                dns.push((*name).to_owned());
            } else if let GeneralName::URI(uri) = name {
                uris.push((*uri).to_owned());
            }
        }
        Ok(Self {
            fingerprint: sha256(der),
            key: sha256(certificate.public_key().raw),
            subject: distinguished_name(certificate.subject()),
            dns,
            uris,
        })
    }

    /// The hash of the whole certificate: `x5t#S256` in RFC 8705 section 3.1.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// Every name that an operator could write for it, so that the right one can be copied from a log.
impl fmt::Display for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.dns {
            write!(f, "dns:{name} ")?;
        }
        for uri in &self.uris {
            write!(f, "uri:{uri} ")?;
        }
        if !self.subject.is_empty() {
            write!(f, "subject:{} ", self.subject)?;
        }
        write!(f, "sha256:{}", hex(&self.fingerprint))
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({self})")
    }
}

/// How an operator says which certificate is a client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^((dns|uri|subject):.+|(spki-)?sha256:([0-9A-Fa-f]{2}:?){32})$"))]
pub enum CertificateName {
    /// `dns:` and a DNS name among its alternative names. Case does not count (RFC 4343); a `*` is a
    /// letter like any other.
    Dns(String),
    /// `uri:` and a URI among its alternative names, character by character.
    Uri(String),
    /// `subject:` and its distinguished name as RFC 4514 writes it, character by character.
    Subject(String),
    /// `sha256:` and its fingerprint.
    Certificate(Fingerprint),
    /// `spki-sha256:` and the fingerprint of its public key (the `SubjectPublicKeyInfo`), which stays
    /// when it is renewed with the same key.
    Key(Fingerprint),
}

/// A text that names no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificateName {
    /// It does not begin with one of the kinds.
    #[error(
        "{0:?} does not say what it compares; write \"dns:…\", \"uri:…\", \"subject:…\", \"sha256:…\" or \
         \"spki-sha256:…\""
    )]
    Kind(String),
    /// Nothing stands after the kind.
    #[error("{0:?} is empty behind the colon; write the name there")]
    Empty(String),
    /// It is no SHA-256 in hexadecimal.
    #[error("{0:?} is no SHA-256: write 64 hexadecimal digits, with or without colons")]
    Fingerprint(String),
}

impl TryFrom<String> for CertificateName {
    type Error = BadCertificateName;

    fn try_from(text: String) -> Result<Self, BadCertificateName> {
        let (kind, name) = text.split_once(':').unwrap_or_default();
        let print =
            || fingerprint(name).ok_or_else(|| BadCertificateName::Fingerprint(text.clone()));
        let read = match kind {
            "dns" => Self::Dns(name.to_owned()),
            "uri" => Self::Uri(name.to_owned()),
            "subject" => Self::Subject(name.to_owned()),
            "sha256" => Self::Certificate(print()?),
            "spki-sha256" => Self::Key(print()?),
            _ => return Err(BadCertificateName::Kind(text)),
        };
        if name.is_empty() { Err(BadCertificateName::Empty(text)) } else { Ok(read) }
    }
}

impl From<CertificateName> for String {
    fn from(name: CertificateName) -> Self {
        match name {
            CertificateName::Dns(name) => format!("dns:{name}"),
            CertificateName::Uri(uri) => format!("uri:{uri}"),
            CertificateName::Subject(subject) => format!("subject:{subject}"),
            CertificateName::Certificate(print) => format!("sha256:{}", hex(&print)),
            CertificateName::Key(print) => format!("spki-sha256:{}", hex(&print)),
        }
    }
}

impl CertificateName {
    /// Whether it is this certificate that is meant.
    pub fn names(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Self::Dns(name) => certificate.dns.iter().any(|dns| dns.eq_ignore_ascii_case(name)),
            Self::Uri(uri) => certificate.uris.contains(uri),
            Self::Subject(subject) => certificate.subject == *subject,
            Self::Certificate(print) => certificate.fingerprint == *print,
            Self::Key(print) => certificate.key == *print,
        }
    }
}

fn sha256(bytes: &[u8]) -> Fingerprint {
    let mut print = Fingerprint::default();
    for (to, from) in print.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    print
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(high << 4 | low).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name as RFC 4514 section 2 writes it, the last component first, as `openssl x509 -subject -nameopt
/// RFC2253` prints it. No two names that differ are written alike.
///
/// By hand: the parser's own way to print a name escapes nothing, so that a comma within a component
/// would look like the end of it.
pub fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut components: Vec<String> = name
        .iter_rdn()
        .map(|component| {
            let mut values: Vec<String> = component.iter().map(attribute).collect();
            values.reverse();
            values.join("+")
        })
        .collect();
    components.reverse();
    components.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    let known = KEYWORDS.iter().find(|(known, _)| known == kind).map(|(_, keyword)| *keyword);
    match (known, attribute.as_str()) {
        (Some(keyword), Ok(text)) => format!("{keyword}={}", escaped(text)),
        (_, Ok(_) | Err(_)) => {
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            let keyword = known.map_or_else(|| kind.to_id_string(), str::to_owned);
            format!("{keyword}=#{}", hex(&der))
        }
    }
}

/// RFC 4514 section 3, and three more that are common in certificates.
const KEYWORDS: [(oid::Oid<'static>, &str); 12] = [
    (oid::OID_X509_COMMON_NAME, "CN"),
    (oid::OID_X509_LOCALITY_NAME, "L"),
    (oid::OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
    (oid::OID_X509_ORGANIZATION_NAME, "O"),
    (oid::OID_X509_ORGANIZATIONAL_UNIT, "OU"),
    (oid::OID_X509_COUNTRY_NAME, "C"),
    (oid::OID_X509_STREET_ADDRESS, "street"),
    (oid::OID_DOMAIN_COMPONENT, "DC"),
    (oid::OID_USERID, "UID"),
    (oid::OID_X509_SERIALNUMBER, "serialNumber"),
    (oid::OID_PKCS9_EMAIL_ADDRESS, "emailAddress"),
    (oid::OID_X509_SURNAME, "SN"),
];

/// RFC 4514 section 2.4; what is not printable ASCII byte by byte, as the section allows.
fn escaped(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let mut out = String::new();
    for (at, byte) in text.bytes().enumerate() {
        let special = b"\"+,;<>\\".contains(&byte)
            || (at == 0 && (byte == b'#' || byte == b' '))
            || (at == last && byte == b' ');
        if byte != b' ' && !byte.is_ascii_graphic() {
            let _ = write!(out, "\\{byte:02X}");
        } else {
            if special {
                out.push('\\');
            }
            out.push(char::from(byte));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    fn certificate(dns: &[&str], uris: &[&str], subject: &[(DnType, &str)]) -> ClientCertificate {
        let names: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::read(made.der()).unwrap()
    }

    fn name(text: &str) -> CertificateName {
        CertificateName::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn each_kind_of_name_meets_its_own_certificate_and_no_other() {
        let subject = [(DnType::CountryName, "DE"), (DnType::CommonName, "ehr")];
        let (dns, uri) = ("ehr.example.org", "spiffe://example.org/ehr");
        let ours = certificate(&[dns, "b.example"], &[uri], &subject);
        let other = certificate(&["other.example"], &["spiffe://example.org/other"], &[]);
        let prints = (hex(&ours.fingerprint), hex(&ours.key));
        for text in [
            "dns:ehr.example.org".to_owned(),
            "dns:EHR.example.ORG".to_owned(),
            "dns:b.example".to_owned(),
            "uri:spiffe://example.org/ehr".to_owned(),
            "subject:CN=ehr,C=DE".to_owned(),
            format!("sha256:{}", prints.0),
            format!("sha256:{}", prints.0.to_uppercase()),
            format!("spki-sha256:{}", prints.1),
        ] {
            assert!(name(&text).names(&ours), "{text}");
            assert!(!name(&text).names(&other), "{text}");
        }
        for text in [
            // A name is of its kind: nobody gets another's by having it in another field.
            "dns:spiffe://example.org/ehr".to_owned(),
            "uri:ehr.example.org".to_owned(),
            "dns:ehr".to_owned(),
            "dns:*.example.org".to_owned(),
            "dns:example.org".to_owned(),
            "uri:SPIFFE://example.org/ehr".to_owned(),
            "subject:CN=ehr".to_owned(),
            "subject:C=DE,CN=ehr".to_owned(),
            format!("sha256:{}", prints.1),
            format!("spki-sha256:{}", prints.0),
        ] {
            assert!(!name(&text).names(&ours), "{text}");
        }
        assert!(!certificate(&["*.example.org"], &[], &[]).dns.is_empty());
        let wild = certificate(&["*.example.org"], &[], &[]);
        assert!(!name("dns:ehr.example.org").names(&wild), "a wildcard is no wildcard here");
    }

    #[test]
    fn different_subjects_are_written_differently() {
        let subject = |parts: &[(DnType, &str)]| certificate(&["a"], &[], parts).subject;
        let (cn, o) = (DnType::CommonName, DnType::OrganizationName);
        assert_eq!(subject(&[(o.clone(), "b"), (cn.clone(), "a")]), "CN=a,O=b");
        assert_eq!(subject(&[(cn.clone(), "a,O=b")]), "CN=a\\,O=b");
        assert_eq!(subject(&[(cn.clone(), " #a+b ")]), "CN=\\ #a\\+b\\ ");
        assert_eq!(subject(&[(cn.clone(), "#61")]), "CN=\\#61");
        assert_eq!(subject(&[(cn.clone(), "ä\"\\;<>\n")]), "CN=\\C3\\A4\\\"\\\\\\;\\<\\>\\0A");
        let unknown = DnType::CustomDnType(vec![1, 2, 3, 4]);
        assert_eq!(subject(&[(unknown, "x")]), "1.2.3.4=#0c0178");
        assert_eq!(subject(&[]), "");
    }

    #[test]
    fn a_name_is_read_as_it_is_written_and_nothing_else_is_a_name() {
        let print = "ab".repeat(32);
        for text in ["dns:a", "uri:https://a/b", "subject:CN=a:b", &format!("sha256:{print}")] {
            assert_eq!(String::from(name(text)), text);
        }
        let colons = format!("spki-sha256:{}", ["AB"; 32].join(":"));
        assert_eq!(String::from(name(&colons)), format!("spki-sha256:{print}"));
        let bad = |text: &str| CertificateName::try_from(text.to_owned()).unwrap_err();
        for text in ["", "ehr.example.org", "DNS:a", "email:a@b", ":a"] {
            assert!(matches!(bad(text), BadCertificateName::Kind(_)), "{text}");
        }
        for text in ["dns:", "uri:", "subject:"] {
            assert!(matches!(bad(text), BadCertificateName::Empty(_)), "{text}");
        }
        for text in ["sha256:", "sha256:ab", "sha256:xy", &format!("sha256:{print}a")] {
            assert!(matches!(bad(text), BadCertificateName::Fingerprint(_)), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        let der = CertificateDer::from(b"0\x03abc".to_vec());
        assert_eq!(ClientCertificate::read(&der), Err(Unreadable));
    }
}
