"""Words -> masks: group the photo into regions, recognise each, bring the borders to full resolution."""
