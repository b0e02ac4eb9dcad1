//! Who is calling: from headers to a verified token.
