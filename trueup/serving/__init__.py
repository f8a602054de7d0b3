"""The server of `trueup serve`: answers with the champion. It runs without scikit-learn, pandas, skops and MLflow."""
