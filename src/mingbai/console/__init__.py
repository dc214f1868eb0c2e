"""The console: the Django project that puts the contexts on pages, in Chinese and English."""
