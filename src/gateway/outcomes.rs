//! TEMPORARY STUB
use bytes::Bytes;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OutcomesError;
impl OutcomesError {
    pub fn code(&self) -> &'static str {
        "x"
    }
}
/// x
pub struct Entry<'a>(&'a str);
impl<'a> Entry<'a> {
    pub fn card(&self) -> &str {
        self.0
    }
    pub fn suggestions(&self) -> &[&'a str] {
        &[]
    }
    pub fn fingerprint(&self) -> [u8; 32] {
        [0; 32]
    }
}
/// x
pub struct Outcomes<'a>(Vec<Entry<'a>>);
impl<'a> Outcomes<'a> {
    pub fn read(_: &'a [u8]) -> Result<Self, OutcomesError> {
        Ok(Self(vec![]))
    }
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.0
    }
    pub fn render(&self, _: &[usize]) -> Bytes {
        Bytes::new()
    }
}
