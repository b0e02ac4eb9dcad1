//! Cross-origin access for EHRs that run in a browser.
