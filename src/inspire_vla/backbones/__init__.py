"""Vision-language models behind one interface, `base.Backbone`."""
