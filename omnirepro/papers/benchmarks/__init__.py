"""Any judge on any benchmark (notebook 09): judge once and freeze rows (`stage`), then accuracies, official scores and
what the papers print (`report`).
"""
