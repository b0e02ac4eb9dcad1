//! The scripts: each is one step, which is taken in one place, whole or not at all.

use redis::{FromRedisValue, Script, Value};

use crate::store::contract::StoreError;

/// Every script of the store.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) insert: Script,
    pub(crate) get: Script,
    pub(crate) claim: Script,
    /// The claim has kept the room: it is taken also where the server has no memory left.
    pub(crate) settle: Script,
    pub(crate) release: Script,
    pub(crate) probe: Script,
    pub(crate) history: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let in_any_memory = "#!lua flags=allow-oom\n";
        let step = |own| Script::new(&[include_str!("step.lua"), own].concat());
        let ending = |own| Script::new(&[in_any_memory, include_str!("step.lua"), own].concat());
        Self {
            insert: step(include_str!("insert.lua")),
            get: step(include_str!("get.lua")),
            claim: step(include_str!("claim.lua")),
            settle: ending(include_str!("settle.lua")),
            release: ending(include_str!("release.lua")),
            probe: step(include_str!("probe.lua")),
            history: Script::new(&[in_any_memory, include_str!("history.lua")].concat()),
        }
    }
}

/// What a step answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What became of it.
    pub(crate) word: String,
    /// How many steps the tag's history holds.
    pub(crate) steps: u64,
    /// How many of them this process took.
    pub(crate) own: u64,
    /// How many keys the server holds.
    pub(crate) keys: u64,
    /// A value, where there is one.
    pub(crate) value: Option<Vec<u8>>,
}

impl Answer {
    /// Reads what a step answered.
    ///
    /// # Errors
    /// [`StoreError::Down`] where it is not what steps answer.
    pub(crate) fn parse(value: Value) -> Result<Self, StoreError> {
        let (word, steps, own, keys, value) = read(value)?;
        Ok(Self { word, steps, own, keys, value })
    }
}

/// What a tag's history says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) mark: [u8; 8],
    /// When it began, in milliseconds.
    pub(crate) since: u64,
    /// Whether somebody knew of another one before.
    pub(crate) follows: bool,
    pub(crate) steps: u64,
    pub(crate) own: u64,
    /// The server's time, in milliseconds.
    pub(crate) here: u64,
    /// How many keys the server holds.
    pub(crate) keys: u64,
    /// Which run of which server it was.
    pub(crate) run: Vec<u8>,
    /// How long no step is to be taken, in milliseconds: others may know what this server lacks.
    pub(crate) wait: u64,
}

impl Told {
    /// Reads what a history said.
    ///
    /// # Errors
    /// [`StoreError::Down`] where it is not what histories say.
    pub(crate) fn parse(value: Value) -> Result<Self, StoreError> {
        type Row = (Vec<u8>, u64, bool, u64, u64, u64, u64, Vec<u8>, u64);
        let (mark, since, follows, steps, own, here, keys, run, wait): Row = read(value)?;
        let mark = mark.try_into().map_err(|_| strange())?;
        Ok(Self { mark, since, follows, steps, own, here, keys, run, wait })
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|_| strange())
}

/// An answer that no script of the store gives.
pub(crate) fn strange() -> StoreError {
    StoreError::Down("it answered what no script of the store answers".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn reads_what_scripts_answer_and_nothing_else() {
        let answer = |last| {
            Value::Array(vec![text("held"), Value::Int(3), Value::Int(2), Value::Int(70), last])
        };
        let held = Answer { word: "held".into(), steps: 3, own: 2, keys: 70, value: None };
        assert_eq!(Answer::parse(answer(Value::Nil)).unwrap(), held);
        let value = Some(vec![]);
        assert_eq!(Answer::parse(answer(text(""))).unwrap(), Answer { value, ..held });
        for bad in [Value::Nil, Value::Okay, text("held"), Value::Array(vec![text("held")])] {
            assert!(Answer::parse(bad.clone()).is_err(), "{bad:?}");
            assert!(Told::parse(bad.clone()).is_err(), "{bad:?}");
        }
        let told = |mark: &str| {
            let numbers = ["5", "0", "1", "1", "9", "64"].map(text);
            Value::Array([vec![text(mark)], numbers.to_vec(), vec![text("r"), text("0")]].concat())
        };
        assert_eq!(Told::parse(told("12345678")).unwrap().mark, *b"12345678");
        assert!(Told::parse(told("1234567")).is_err());
    }
}
