"""How the embedded default model is made: vocabulary, student, augmentation, distillation."""
