//! How the page is looked at.

use std::sync::Arc;

use url::form_urlencoded;

use crate::admin::action::Done;

/// How the page is looked at.
#[derive(Debug)]
pub(crate) struct View {
    /// The action that leads here.
    pub(super) done: Option<u64>,
    /// Seconds after which the browser is to load it anew, where the reader wants that.
    pub(super) every: Option<u8>,
    /// What was done from the page.
    pub(super) journal: Vec<Arc<Done>>,
}

impl View {
    /// From the query; what says nothing is passed over.
    pub(crate) fn read(query: Option<&str>, journal: Vec<Arc<Done>>) -> Self {
        let mut view = Self { done: None, every: None, journal };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "done" => view.done = value.parse().ok(),
                "every" => {
                    view.every = value.parse().ok().filter(|every| (5..=120).contains(every))
                }
                _ => {}
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_says_nothing_is_passed_over() {
        let read = |query| {
            let view = View::read(query, Vec::new());
            (view.done, view.every)
        };
        assert_eq!(read(None), (None, None));
        assert_eq!(read(Some("done=3&every=10")), (Some(3), Some(10)));
        assert_eq!(read(Some("done=<b>&every=1&x=y")), (None, None));
    }
}
