// onnxruntime 1.29 and later report each model to Microsoft unless this is set before they are loaded.
process.env.ORT_DISABLE_TELEMETRY ??= "1";
