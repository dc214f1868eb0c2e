"""What templates of every context may say: components, figures, charts, marked text. Presentation only."""
