"""Architecture search for vision transformers whose matrices mix 4-bit and 8-bit rows (Quasar-ViT)."""
