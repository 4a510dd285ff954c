// One stage of the Haar wavelet by lifting (the S-transform), one sample a clock: the integer twin of the first
// step of Bifocal's analysis. Two samples a, b become
//     high = b - a                the detail, 9 bits signed
//     low  = a + (high >>> 1)     the rounded-down mean, 8 bits; a = low - (high >>> 1), b = high + a give both back
// `ready` is high for one clock when a pair has left.
module haar (
    input  wire              clk,
    input  wire              rst,
    input  wire              valid,
    input  wire        [7:0] sample,
    output reg               ready,
    output reg         [7:0] low,
    output reg  signed [8:0] high
);
    reg       odd;
    reg [7:0] first;

    wire signed [8:0] difference = {1'b0, sample} - {1'b0, first};        // predict
    wire signed [9:0] mean = $signed({2'b00, first}) + (difference >>> 1);  // update

    always @(posedge clk or posedge rst)
        if (rst) begin
            odd   <= 1'b0;
            first <= 8'd0;
            ready <= 1'b0;
            low   <= 8'd0;
            high  <= 9'sd0;
        end else begin
            ready <= valid & odd;
            if (valid) begin
                odd <= ~odd;
                if (odd) begin
                    high <= difference;
                    low  <= mean[7:0];
                end else
                    first <= sample;
            end
        end
endmodule
