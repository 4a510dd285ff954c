"""What a campaign is shown as: page, drawings, tables."""
