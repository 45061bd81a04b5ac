"""The page on this machine and its HTTP API: a thin edge over the verbs. See docs/guides/page.md and api.md."""
