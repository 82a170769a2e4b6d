"""Language models that see, behind one small protocol (`base.Backbone`)."""
